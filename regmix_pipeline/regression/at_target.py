"""The regressors at the size of the large run's model, where runs of a second size say how to get there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.imports import imported_runs, runs_of_other_sizes
from regmix_pipeline.proxies.run_facts import sizes_of
from regmix_pipeline.proxies.run_tables import ImportedRun
from regmix_pipeline.proxies.size_runs import has_sizes
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.size_fit import fit_moved, fit_sizes
from regmix_pipeline.regression.sizes import SINGLE, ModelSize, SizeLaw, SizeRuns
from regmix_pipeline.regression.training_data import LossTable

FILE, BASE = "sizes.json", "at_base"
"""File and folder beside the regressors: the law of size, and the regressors at the proxies' own size."""


@dataclass(frozen=True)
class AtTarget:
    """A law of size with the size that is asked for.

    Attributes:
        law: fitted.
        target: the large run's size.
        sizes: that were trained, the base first.
    """

    law: SizeLaw
    target: ModelSize
    sizes: tuple[ModelSize, ...]

    @property
    def used(self) -> bool:
        """Whether the regressors are moved by it."""
        return self.law.used != SINGLE

    def save(self, folder: Path) -> None:
        """Write `FILE`."""
        content = {"target": asdict(self.target), "sizes": [asdict(each) for each in self.sizes]}
        write_json(folder / FILE, content | {"law": self.law.as_json()})

    @classmethod
    def load(cls, folder: Path) -> AtTarget | None:
        """What `save` wrote; None where nothing was."""
        if not (folder / FILE).is_file():
            return None
        kept = read_json(folder / FILE)
        sizes = tuple(ModelSize(**each) for each in kept["sizes"])
        return cls(SizeLaw.restored(kept["law"]), ModelSize(**kept["target"]), sizes)

    def rows(self) -> list[dict[str, Any]]:
        """Scores of the members, as rows of the ledger."""
        columns = ("law", "correlation", "error", "gain", "gain_error")
        return [
            {name: getattr(each, name) for name in columns} | {"used": each.law == self.law.used}
            for each in self.law.scores
        ]


def law_of_size(workspace: Workspace, fitted: FittedRegressor) -> AtTarget | None:
    """The law of size of a study that states its target's size; None where too few runs of another size are known."""
    limits = workspace.study.limits
    if limits.target_parameters is None:
        return None
    base, others = _own(workspace, fitted) if has_sizes(workspace) else (None, [])
    foreign = runs_of_other_sizes(workspace)
    if base is None and not workspace.study.trains:
        base = _size_of(imported_runs(workspace))
    others += [_runs([run for run in foreign if run.parameters in group], fitted) for group in _groups(foreign)]
    if base is None or not others:
        return None
    target = ModelSize(limits.target_parameters, limits.target_tokens)
    if any(size.tokens is None for size in (base, target, *(each.size for each in others))):
        # Tokens that only some state would be taken for a difference in size.
        base, target = ModelSize(base.parameters), ModelSize(target.parameters)
        others = [SizeRuns(ModelSize(each.size.parameters), each.weights, each.losses) for each in others]
    law = fit_sizes(fitted, base, others, workspace.study.objective, workspace.study.seed)
    if law is None:
        return None
    return AtTarget(law, target, (base, *(each.size for each in others)))


def moved_to_target(
    workspace: Workspace, fitted: FittedRegressor, found: AtTarget, table: LossTable
) -> FittedRegressor:
    """The regressors fitted to the measured losses as they would be at the target's size."""
    return fit_moved(
        fitted,
        found.law,
        found.target,
        workspace.study.regression,
        workspace.workers,
        table.standard_errors,
        None if table.epochs is None else table.epochs.rows,
        None if table.epochs is None else table.epochs.proxies,
        workspace.study.objective,
    )


def _own(workspace: Workspace, fitted: FittedRegressor) -> tuple[ModelSize, list[SizeRuns]]:
    """The proxies' size, and the study's larger proxies."""
    content = workspace.json("size_runs")
    found = []
    for size in dict.fromkeys((run["parameters"], run["tokens"]) for run in content["runs"]):
        runs = [run for run in content["runs"] if (run["parameters"], run["tokens"]) == size]
        weights = np.array([Mixture.of(run["parts"]).vector(fitted.domains) for run in runs])
        losses = np.array([[run["losses"][target] for target in fitted.targets] for run in runs])
        found.append(SizeRuns(ModelSize(*size), weights, losses))
    return ModelSize(**content["base"]), found


def _groups(runs: Sequence[ImportedRun]) -> list[set[int | None]]:
    return [group for group in sizes_of(run.parameters for run in runs) if None not in group]


def _size_of(runs: Sequence[ImportedRun]) -> ModelSize | None:
    """The size that runs have in common; None where nobody said."""
    parameters = [run.parameters for run in runs if run.parameters]
    tokens = [run.tokens for run in runs if run.tokens]
    if len(parameters) < len(runs) or not runs:
        return None
    return ModelSize(float(np.median(parameters)), float(np.median(tokens)) if len(tokens) == len(runs) else None)


def _runs(runs: Sequence[ImportedRun], fitted: FittedRegressor) -> SizeRuns:
    """Imported runs of one size, the mean of each mixture's."""
    by_mixture: dict[str, list[ImportedRun]] = {}
    for run in runs:
        by_mixture.setdefault(run.mixture.id, []).append(run)
    weights = np.array([same[0].mixture.vector(fitted.domains) for same in by_mixture.values()])
    losses = [
        np.mean([[run.losses[t] for t in fitted.targets] for run in same], axis=0) for same in by_mixture.values()
    ]
    size = _size_of(runs)
    assert size is not None, "grouped by what is stated"
    return SizeRuns(size, weights, np.array(losses))
