"""What every strategy of choosing a mixture is given, and all it may use: the same data, the same models, one account.

An arena represents a study's domains and models. `TrainedArena` trains them, `SyntheticWorld` computes their losses
from a law that is known. A strategy asks an arena for runs and answers with what the large run shall draw; the arena
keeps the account of what that took, so that strategies are compared at equal compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.ngrams.evidence import NgramEvidence

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """A model and how long it is trained.

    Attributes:
        name: proxy, small_proxy, target.
        parameters: all of the model's.
        tokens: that a run trains on.
        steps: optimiser steps of a run.
        flops_per_token: of a forward and a backward pass.
    """

    name: str
    parameters: int
    tokens: int
    steps: int
    flops_per_token: float

    @property
    def flops(self) -> float:
        """FLOPs of a run."""
        return self.flops_per_token * self.tokens


@dataclass
class Account:
    """What a strategy took.

    Attributes:
        runs: models trained or begun.
        tokens: trained on, all models together.
        flops: of training and of the passes a strategy asked for beside it, such as losses of domains along the way.
    """

    runs: int = 0
    tokens: int = 0
    flops: float = 0.0

    def add(self, tokens: int, flops: float, runs: int = 0) -> None:
        """Enter something."""
        self.runs, self.tokens, self.flops = self.runs + runs, self.tokens + tokens, self.flops + flops


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        mixture: that it was trained on.
        seed: its seed.
        losses: target -> loss at the end, nats per token.
        steps: of its trajectory, increasing, (S,).
        trajectory: target -> losses at those steps, (S,); from fewer windows than `losses`.
    """

    mixture: Mixture
    seed: int
    losses: Mapping[str, float]
    steps: Array
    trajectory: Mapping[str, Array]


class Session(Protocol):
    """A run under way whose mixture may change from step to step."""

    size: Size
    taken: int
    """Steps taken."""

    def advance(self, weights: Array, steps: int, loss_weights: Array | None = None) -> Array:
        """Train.

        Args:
            weights: of the domains in the arena's order, (d,), summing to 1; draws follow them by quota, whose rounding
                is carried over from call to call.
            steps: how many steps, not beyond the run's end.
            loss_weights: factor of each domain's tokens in the training loss, (d,); default 1.

        Returns:
            Mean training loss of each domain over these steps, nats per token, (d,); NaN where nothing was drawn.
        """
        ...

    def domain_losses(self) -> Array:
        """Loss of the model as it is on a fixed sample of each domain's training text, nats per token, (d,).

        The same sample for every session of an arena. Counts as forward passes.
        """
        ...

    def losses(self) -> dict[str, float]:
        """Loss on every target, nats per token, as for a finished run."""
        ...

    def drawn(self) -> Array:
        """Share of each domain in the tokens drawn so far, (d,)."""
        ...


class Arena(Protocol):
    """Domains, limits, targets and models of a comparison, with the account of the strategy at work."""

    domains: tuple[str, ...]
    prior: Array
    """Natural weights, (d,)."""
    limits: Limits
    """Caps and floors of the large run's mixture."""
    objective: Mapping[str, float]
    """Target -> share; the strategy is to make the weighted loss of the target run small."""
    targets: tuple[str, ...]
    """All that is measured; those of the objective are among them. A target may have a domain's name and be its
    held-out text."""
    human: Mixture | None
    """A mixture made by hand, where the study gives one."""
    proxy: Size
    small_proxy: Size | None
    """A smaller model, for strategies that train two sizes or small models."""
    target: Size
    account: Account
    epochs: Array | None
    """Epochs of each domain in the target run at weight 1, (d,): target tokens / available tokens; None: no limit."""

    @property
    def counted(self) -> NgramEvidence | None:
        """Losses that n-gram counts of the domains' text predict; None where there is no text, or nothing is
        counted."""
        ...

    def train(self, mixtures: Sequence[Mixture], size: Size, seed: int = 0) -> list[Run]:
        """Train a model on each mixture, in order. What was trained before, by whichever strategy, costs no time but is
        entered in the account all the same."""
        ...

    def start(self, size: Size, seed: int = 0) -> Session:
        """Begin a run whose mixture may change. Its steps are entered in the account as they are taken."""
        ...


@dataclass(frozen=True)
class Choice:
    """A strategy's answer: what the large run draws.

    Attributes:
        schedule: (share of the steps at which a mixture ends, mixture), increasing, the last at 1. One entry: a mixture
            for the whole run.
        policy: steers the large run as it goes, instead of a schedule: takes its session and trains it to the end.
        details: what the strategy found on its way, JSON-able.
    """

    schedule: tuple[tuple[float, Mixture], ...] = ()
    policy: Callable[[Session], None] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the answer.

        Raises:
            MixtureError: neither or both of schedule and policy, or ends that do not increase to 1.
        """
        ends = [end for end, _ in self.schedule]
        if (self.policy is None) == (not ends):
            raise MixtureError("a choice is a schedule or a policy", remedy="give exactly one of them")
        if ends and (sorted(set(ends)) != ends or ends[0] <= 0 or ends[-1] != 1):
            raise MixtureError(f"ends {ends} do not increase to 1", remedy="the last mixture ends with the run")

    @classmethod
    def of(cls, mixture: Mixture, **details: Any) -> Choice:
        """One mixture for the whole run."""
        return cls(((1.0, mixture),), details=details)

    @property
    def mixture(self) -> Mixture | None:
        """The mixture, where it is one for the whole run."""
        return self.schedule[0][1] if len(self.schedule) == 1 else None


class Strategy(Protocol):
    """A way of choosing what the large run draws.

    A class may also have ``code_version``, raised by hand when its code changes its choices, and ``trains = False``
    where it trains nothing before the target run, which plans count on.
    """

    @property
    def name(self) -> str:
        """As in the study file."""
        ...

    @property
    def paper(self) -> str:
        """Where it is from: authors, title, arXiv id; "" for none."""
        ...

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """Choose, with runs of at most ``flops`` FLOPs in all on the arena's account.

        The choice keeps the arena's limits: a method that knows none has its answer moved to the nearest mixture that
        does, and says so in the details.

        Raises:
            StudyError: the budget is too small for the strategy; names the least that is not.
        """
        ...
