"""A stage: a name, what it reads, and two functions.

One function says from what each key should be made now, the other makes the keys that are asked for. Both see the study
through a view that raises on every read that the stage does not declare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.errors import UndeclaredReadError

if TYPE_CHECKING:
    from regmix_pipeline.engine.workspace import Workspace

OWNERS: defaultdict[str, set[str]] = defaultdict(set)
"""Folder or file under the home -> names of the stages that declare it as theirs."""


@dataclass(frozen=True)
class Stage:
    """A stage of the method; an asset of the same name runs it. It reads itself and its upstream, and nothing else.

    Attributes:
        name: the asset's name.
        upstream: names of the stages it reads, in order.
        partitions: what its keys are, or None when it is not partitioned.
        code_version: raised by hand when the code comes to mean something else; part of every recipe.
        recipes: workspace -> key -> recipe; reads records only, or the outside world for the first stage.
        outputs: workspace, recipes to make -> outputs, one by one as they are finished.
        restores: whether what was made from a recipe before is made current again when the recipe is wanted again. No
            for what observes the world, and for what costs nothing to make again and is checked as it is made.
        folders: folders and files under the home that are its own. A folder of content-addressed files may be shared.
        observers: stages that observe what this one leaves on disk; they observe again each time it was made.
        output_folder: folder of the home whose files are taken up by their names where they are there.
        kinds: what it is made of or with, at most three words that the Dagster UI shows as icons.
        group: the part of the graph that it belongs to: data, proxies or decision.
        description: what the asset is, in one or two sentences.
    """

    name: str
    upstream: tuple[str, ...]
    partitions: Literal["domain", "mixture"] | None
    code_version: str
    recipes: Callable[[Workspace], dict[str, Recipe]]
    outputs: Callable[[Workspace, Mapping[str, Recipe]], Iterator[Output]]
    restores: bool = True
    folders: tuple[str, ...] = ()
    observers: tuple[Stage, ...] = ()
    output_folder: str = ""
    kinds: tuple[str, ...] = ()
    group: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        for folder in self.folders:
            OWNERS[folder].add(self.name)

    def expected_recipes(self, workspace: Workspace) -> dict[str, Recipe]:
        """Key -> what it should be made from now.

        Raises:
            LedgerError: an upstream stage was not made.
            UndeclaredReadError: the stage reads what it does not declare.
        """
        return self.recipes(self.view(workspace))

    def compute(self, workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
        """Make keys from their recipes, one by one; raises as `expected_recipes`, and what the stage itself raises."""
        return self.outputs(self.view(workspace), recipes)

    def view(self, workspace: Workspace) -> Workspace:
        """The workspace as this stage may see it: every read of what it does not declare raises
        `UndeclaredReadError`."""
        declared = {self.name, *self.upstream}

        def reader(assets: frozenset[str]) -> None:
            if not assets & declared:
                raise UndeclaredReadError(self.name, assets)

        return workspace.read_by(reader)
