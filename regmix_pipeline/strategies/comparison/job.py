"""A job: one strategy chooses, and steers its target runs where its mixture changes on the way.

Done in a process of its own, see `process`. What it finds is kept in files, so it may be killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
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
"""Strategies choose once: with the seed of the study's own proxies, so that they can share them."""


def budget(arena: TrainedArena) -> float:
    """FLOPs that each strategy may spend before the target run."""
    return arena.settings.budget_proxies * arena.proxy.flops


def key_of(arena: TrainedArena, name: str, strategy: Strategy) -> str:
    """Id of a strategy's choice."""
    options = arena.settings.options.get(name, {})
    return choice_id(arena.id, name, options, code_version(strategy), budget(arena), SEED)


def load_finished(arena: TrainedArena, name: str) -> tuple[Kept, list[SteeredRun]] | None:
    """A strategy's choice and the runs that it steered, all of them; None while something is missing."""
    kept = Kept.load(arena.workspace, key_of(arena, name, named_strategy(name, arena.settings.options.get(name, {}))))
    if kept is None or kept.kind == "mixture":
        return None if kept is None else (kept, [])
    runs = [SteeredRun.load(arena.workspace, run_id(kept.id, number)) for number in range(arena.settings.seeds)]
    found = [run for run in runs if run is not None]
    return (kept, found) if len(found) == len(runs) else None


def chosen_and_steered(workspace: Workspace, name: str) -> None:
    """Let a strategy choose, unless it has, and train what it steers that is not there.

    Raises:
        RegmixError: the strategy could not choose, or a run failed.
    """
    arena = TrainedArena(workspace, name)
    strategy = named_strategy(name, arena.settings.options.get(name, {}))
    key = key_of(arena, name, strategy)
    kept, choice = Kept.load(workspace, key), None
    if kept is None or kept.kind == "policy":  # a policy is code: it has to be asked for again
        started = time.monotonic()
        choice = strategy.choose(arena, budget(arena), SEED)
        seconds = round(time.monotonic() - started, 2)
    if kept is None:
        assert choice is not None
        kept = Kept.of(choice, key, name, strategy.paper, SEED, arena.account, budget(arena), seconds)
        kept.save(workspace)
    if kept.kind == "mixture":
        return
    choice = choice or Choice(kept.schedule)
    progress = Progress(f"{name} target", arena.settings.seeds, workspace.say)
    for number in range(arena.settings.seeds):
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


def task_of(workspace: Workspace, name: str, workers: int) -> Mapping[str, Any]:
    """What a process has to know to let a strategy choose."""
    places = {"study_file": str(workspace.study_file), "home": str(workspace.home), "data": str(workspace.data)}
    return places | {"strategy": name, "workers": workers}
