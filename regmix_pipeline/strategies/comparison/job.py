"""A job: one strategy chooses, and steers its target runs where its mixture changes on the way.

Done in a process of its own, see `process`. What it finds is kept in files, so it may be killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.tasks import proxy_seed
from regmix_pipeline.registry import code_version
from regmix_pipeline.strategies.arena import Account, Choice, Session, Strategy
from regmix_pipeline.strategies.comparison.files import Kept, SteeredRun, choice_id, run_id
from regmix_pipeline.strategies.named import named_strategy
from regmix_pipeline.strategies.trained.arena import FINAL_SEED, TrainedArena

SEED = 0
"""A study's comparison asks each strategy once: with the seed of the study's own proxies, so that they can share
them."""


@dataclass(frozen=True)
class Asked:
    """A choice that a strategy is asked for.

    Attributes:
        strategy: its name.
        proxies: what it may spend before the target run, as a number of proxies.
        seed: of its mixtures and runs.
        target_runs: seeds of the target runs that it steers, if it does; None for as many as the study says.
    """

    strategy: str
    proxies: int
    seed: int = SEED
    target_runs: int | None = None

    def steered(self, arena: TrainedArena) -> range:
        """Numbers of the target runs that it steers, if it does."""
        return range(self.target_runs or arena.settings.seeds)

    def flops(self, arena: TrainedArena) -> float:
        """FLOPs that it may spend."""
        return self.proxies * arena.proxy.flops

    def made(self, arena: TrainedArena) -> Strategy:
        """The strategy, with the options that the study gives it."""
        return named_strategy(self.strategy, arena.settings.options.get(self.strategy, {}))

    def key(self, arena: TrainedArena) -> str:
        """Id of the choice."""
        options = arena.settings.options.get(self.strategy, {})
        version = code_version(self.made(arena))
        return choice_id(arena.id, self.strategy, options, version, self.flops(arena), self.seed)


def load_finished(arena: TrainedArena, asked: Asked) -> tuple[Kept, list[SteeredRun]] | None:
    """A choice and the runs that it steered, all of them; None while something is missing."""
    kept = Kept.load(arena.workspace, asked.key(arena))
    if kept is None or kept.kind == "mixture":
        return None if kept is None else (kept, [])
    runs = [SteeredRun.load(arena.workspace, run_id(kept.id, number)) for number in asked.steered(arena)]
    found = [run for run in runs if run is not None]
    return (kept, found) if len(found) == len(runs) else None


def chosen_and_steered(workspace: Workspace, asked: Asked) -> None:
    """Let a strategy choose, unless it has, and train what it steers that is not there.

    Raises:
        RegmixError: the strategy could not choose, or a run failed.
    """
    name = asked.strategy
    arena = TrainedArena(workspace, name)
    strategy, key, budget = asked.made(arena), asked.key(arena), asked.flops(arena)
    kept, choice = Kept.load(workspace, key), None
    if kept is None or kept.kind == "policy":  # a policy is code: it has to be asked for again
        started = time.monotonic()
        choice = strategy.choose(arena, budget, asked.seed)
        seconds = round(time.monotonic() - started, 2)
    if kept is None:
        assert choice is not None
        kept = Kept.of(choice, key, name, strategy.paper, asked.seed, arena.account, budget, seconds)
        kept.save(workspace)
    if kept.kind == "mixture":
        return
    choice = choice or Choice(kept.schedule)
    progress = Progress(f"{name} target", len(asked.steered(arena)), workspace.say)
    for number in asked.steered(arena):
        if SteeredRun.load(workspace, run_id(key, number)) is None:
            _steered(arena, choice, run_id(key, number), number).save(workspace)
        progress.advance()


def _steered(arena: TrainedArena, choice: Choice, key: str, number: int) -> SteeredRun:
    started = time.monotonic()
    arena.account = Account()  # the target run is nobody's
    session = arena.session(arena.target, FINAL_SEED + proxy_seed(arena.workspace, number))
    if choice.policy is not None:
        choice.policy(session)
    else:
        _follow(session, choice, arena.domains)
    losses = {target: loss.as_json() for target, loss in session.final().items()}
    drawn = dict(zip(arena.domains, session.drawn().tolist(), strict=True))
    further = arena.account.flops - arena.target.flops
    return SteeredRun(key, number, losses, drawn, max(0.0, further), round(time.monotonic() - started, 2))


def _follow(session: Session, choice: Choice, domains: tuple[str, ...]) -> None:
    for end, mixture in choice.schedule:
        steps = round(end * session.size.steps) - session.taken
        if steps > 0:
            session.advance(mixture.vector(domains), steps)


def task_of(workspace: Workspace, asked: Asked, workers: int) -> Mapping[str, Any]:
    """What a process has to know to let a strategy choose."""
    places = {"study_file": str(workspace.study_file), "home": str(workspace.home), "data": str(workspace.data)}
    return places | {"asked": asdict(asked), "workers": workers}
