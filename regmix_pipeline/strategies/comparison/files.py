"""What a comparison keeps on disk: a strategy's choice, and a target run that a strategy steered.

Each is a JSON file named by all that its content follows from, so that a comparison that was killed goes on, and
nothing is done twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import fingerprint, read_json, write_json
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.strategies.arena import Account, Choice

CODE_VERSION = "1"
"""Raised by hand when a comparison comes to mean something else."""
FOLDER = "strategies"
"""Under the workspace's home."""

Kind = Literal["mixture", "schedule", "policy"]


@dataclass(frozen=True)
class Kept:
    """A strategy's choice as it is kept.

    Attributes:
        id: of the strategy, its options, the arena, the budget and the seed.
        strategy: its name.
        paper: where it is from.
        seed: it chose with.
        kind: mixture, schedule, or policy: steers the large run as it goes.
        schedule: (share of the steps at which a mixture ends, mixture); empty for a policy.
        account: what the choosing took.
        budget_flops: what it might have taken; None where nothing was counted.
        seconds: of choosing.
        details: what the strategy reports.
    """

    id: str
    strategy: str
    paper: str
    seed: int
    kind: Kind
    schedule: tuple[tuple[float, Mixture], ...]
    account: Account
    budget_flops: float | None
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, choice: Choice, key: str, *facts: Any) -> Kept:
        """A choice under its id; ``facts`` are strategy, paper, seed, account, budget and seconds."""
        strategy, paper, seed, account, budget, seconds = facts
        kind: Kind = "policy" if choice.policy else "schedule" if len(choice.schedule) > 1 else "mixture"
        details = plain(choice.details)
        return cls(key, strategy, paper, seed, kind, choice.schedule, account, budget, seconds, details)

    @property
    def mixture(self) -> Mixture | None:
        """The mixture, where it is one for the whole run."""
        return self.schedule[0][1] if self.kind == "mixture" else None

    def save(self, workspace: Workspace) -> None:
        """Write it whole."""
        schedule = [[end, dict(mixture.parts)] for end, mixture in self.schedule]
        write_json(_path(workspace, self.id), asdict(self) | {"schedule": schedule})

    @classmethod
    def load(cls, workspace: Workspace, key: str) -> Kept | None:
        """What was kept under an id, or None."""
        path = _path(workspace, key)
        if not path.is_file():
            return None
        value = read_json(path)
        schedule = tuple((float(end), Mixture.of(parts)) for end, parts in value["schedule"])
        return cls(**value | {"schedule": schedule, "account": Account(**value["account"])})


@dataclass(frozen=True)
class SteeredRun:
    """A target run whose mixture changed on its way.

    Attributes:
        id: of the choice and the seed.
        seed: number of the seed, from 0.
        losses: target -> the fields of `proxies.evaluate.Loss`.
        drawn: domain -> share of the tokens.
        further_flops: of passes beside training, such as losses of domains along the way.
        seconds: it took.
    """

    id: str
    seed: int
    losses: Mapping[str, Mapping[str, float]]
    drawn: Mapping[str, float]
    further_flops: float
    seconds: float

    def save(self, workspace: Workspace) -> None:
        """Write it whole."""
        write_json(_path(workspace, self.id), asdict(self))

    @classmethod
    def load(cls, workspace: Workspace, key: str) -> SteeredRun | None:
        """What was kept under an id, or None."""
        path = _path(workspace, key)
        return cls(**read_json(path)) if path.is_file() else None


def choice_id(arena: str, strategy: str, options: Mapping[str, Any], version: str, flops: float, seed: int) -> str:
    """Id of a choice: of the arena, the strategy with its options and code, the budget and the seed."""
    return "c" + fingerprint("choice", CODE_VERSION, arena, strategy, options, version, flops, seed)


def run_id(choice: str, seed: int) -> str:
    """Id of a steered run: of the choice that steers it and of its seed."""
    return "r" + fingerprint("steered run", CODE_VERSION, choice, seed)


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays as lists, mixtures as weights, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Mixture):
        return {domain: part / PARTS for domain, part in value.parts}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _path(workspace: Workspace, key: str) -> Path:
    return workspace.path(FOLDER, f"{key}.json")
