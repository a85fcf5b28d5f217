"""The comparison: every strategy chooses, the target model is trained on each choice, with the same seeds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError, RegmixError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.tasks import proxy_seed
from regmix_pipeline.search.region import natural_inside
from regmix_pipeline.strategies.arena import Account
from regmix_pipeline.strategies.comparison.files import Kept
from regmix_pipeline.strategies.comparison.job import Asked, load_finished
from regmix_pipeline.strategies.comparison.jobs import done
from regmix_pipeline.strategies.trained.arena import FINAL_SEED, TrainedArena

WITHIN = 2e-4
"""By how much what a steered run drew may miss a cap: windows are whole."""


@dataclass
class Compared:
    """A strategy in the comparison.

    Attributes:
        choice: its choice.
        runs: id of each target run, by number of the seed.
        losses: the same -> target -> the fields of `proxies.evaluate.Loss`.
        drawn: share of each domain in the target run, (d,); the mean over seeds.
        further_flops: of a target run beyond its training, such as domains' losses along the way; the mean over seeds.
    """

    choice: Kept
    runs: list[str] = field(default_factory=list)
    losses: list[Mapping[str, Mapping[str, float]]] = field(default_factory=list)
    drawn: np.ndarray = field(default_factory=lambda: np.zeros(0))
    further_flops: float = 0.0

    def objective(self, shares: Mapping[str, float]) -> np.ndarray:
        """The weighted loss of each target run, nats per token, (seeds,)."""
        return np.array([objective_of(losses, shares) for losses in self.losses])


def objective_of(losses: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]) -> float:
    """The weighted loss of a run, nats per token."""
    return sum(share * losses[target]["loss"] for target, share in shares.items())


def objective_error(losses: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]) -> float:
    """Its standard error over windows; targets are independent samples."""
    return float(np.sqrt(sum((share * losses[target]["standard_error"]) ** 2 for target, share in shares.items())))


def compared(workspace: Workspace, arena: TrainedArena) -> dict[str, Compared]:
    """Let every strategy choose, and train the target model on all choices; what is there is not done again.

    Raises:
        RegmixError: a strategy failed; what the others found is kept.
    """
    found = {"natural": Compared(natural_choice(arena)), "decision": Compared(_decision(arena))}
    wanted = [Asked(name, arena.settings.budget_proxies) for name in arena.settings.names if name != "natural"]
    let_choose(workspace, arena, wanted)
    for each in wanted:
        name, there = each.strategy, load_finished(arena, each)
        if there is None:
            raise ProxyError(
                "its choice is not the one that was asked for",
                where=f"strategy {name}",
                remedy="run again: the study changed meanwhile",
            )
        kept, runs = there
        found[name] = Compared(kept, [run.id for run in runs], [run.losses for run in runs])
        if runs:
            drawn = np.array([[run.drawn[domain] for domain in arena.domains] for run in runs])
            found[name].drawn = drawn.mean(axis=0)
            found[name].further_flops = float(np.mean([run.further_flops for run in runs]))
    _train_constant(workspace, arena, found)
    return found


def within_limits(arena: TrainedArena, drawn: np.ndarray) -> bool:
    """Whether what a target run draws keeps caps and floors, but for whole windows."""
    return bool(arena.limits.allow(drawn[None], WITHIN + 1 / arena.target.steps)[0])


def let_choose(workspace: Workspace, arena: TrainedArena, wanted: Sequence[Asked]) -> None:
    """Let strategies choose, several at once; what is there is not done again.

    Raises:
        RegmixError: a strategy failed; what the others found is kept.
    """
    asked = [each for each in wanted if load_finished(arena, each) is None]
    progress = Progress("strategies", len(asked), workspace.say)
    failed: list[RegmixError] = []
    for each, error in done(workspace, asked):
        failed += [] if error is None else [error]
        progress.advance(note=f"{each.strategy} {'failed' if error else 'has chosen'}")
    if failed:
        raise failed[0]


def _train_constant(workspace: Workspace, arena: TrainedArena, found: Mapping[str, Compared]) -> None:
    """Target runs of mixtures that do not change; two strategies with one mixture share them."""
    seeds = [FINAL_SEED + proxy_seed(workspace, number) for number in range(arena.settings.seeds)]
    specs = {
        name: [arena.spec(each.choice.mixture, arena.target, seed, confirmed=True) for seed in seeds]
        for name, each in found.items()
        if each.choice.mixture is not None
    }
    arena.label = "strategies"
    measured = arena.measured([spec for group in specs.values() for spec in group], "target")
    for name, group in specs.items():
        mixture = found[name].choice.mixture
        assert mixture is not None
        found[name].runs = [spec.id for spec in group]
        found[name].losses = [measured[spec.id] for spec in group]  # pyright: ignore[reportAttributeAccessIssue]
        found[name].drawn = mixture.vector(arena.domains)


def natural_choice(arena: TrainedArena) -> Kept:
    schedule = ((1.0, natural_inside(arena.prior, arena.limits)),)
    return Kept("natural", "natural", "", 0, "mixture", schedule, Account(), None, 0.0)


def _decision(arena: TrainedArena) -> Kept:
    """The study's own decision, and the proxies that it is based on."""
    workspace, account = arena.workspace, Account()
    for key in workspace.records.keys("proxy_checkpoints"):
        facts = workspace.need("proxy_checkpoints", key).facts
        account.add(facts["tokens"], facts["tokens"] * arena.proxy.flops_per_token, len(facts["proxies"]))
    schedule = ((1.0, Mixture.of(workspace.json("optimal_mixture")["parts"])),)
    details: dict[str, Any] = {"decision": workspace.need("mixture_decision").version}
    name = workspace.need("mixture_decision").version
    return Kept(name, "decision", "", workspace.study.seed, "mixture", schedule, account, None, 0.0, details)
