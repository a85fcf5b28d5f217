"""How fast this machine trains a study's models: as its home recorded, else as a trial shows, else by FLOPs."""

from __future__ import annotations

import math
from dataclasses import replace

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.numbers import amount
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.measured import STARTING, fits_a_trial, matrix_rate, trial, trial_seconds
from regmix_pipeline.planning.rates import evaluation_seconds
from regmix_pipeline.planning.recorded import recorded_speed
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import Work
from regmix_pipeline.progress import Say, clock
from regmix_pipeline.proxies.workers.local import devices_here, most_in_stack
from regmix_pipeline.study.study import Study

EFFICIENCY = 0.5
"""Share of the matrix rate that whole training steps reach, where no step can be tried."""


def speeds_here(
    study: Study, works: tuple[Work, ...], workspace: Workspace | None, workers: int, say: Say
) -> dict[str, Speed]:
    """Batch of models -> a worker's speed; ``say`` is called for every trial with how long it may take.

    Raises:
        PlanError: a trial failed.
    """
    found: dict[str, Speed] = {}
    asked = study.proxies.engine.overridden().stack
    most = most_in_stack(asked, devices_here())
    rate = 0.0
    for work in works:
        if work.command:
            continue
        recorded = recorded_speed(workspace, work) if workspace is not None else None
        if recorded is not None:
            found[work.what] = recorded
            continue
        if work.before in found:
            found[work.what] = found[work.before]
            continue
        rate = rate or matrix_rate() * EFFICIENCY
        tried = None
        if not work.models:  # all runs are imported
            found[work.what] = replace(_by_flops(work, works[0], None, rate), source="nothing to train")
            continue
        stack = min(most, math.ceil(work.models / workers))
        if fits_a_trial(work, min(workers, work.models), rate, stack):
            seconds = clock(STARTING + trial_seconds(work, rate, stack))
            say(f"  plan: trying {work.what}, {amount(work.parameters)} parameters: about {seconds}")
            tried = trial(work, list(study.domains), workers, stack=None if asked is None else stack)
        else:
            say(f"  plan: {work.what}, {amount(work.parameters)} parameters: too large to try here, so by FLOPs")
        found[work.what] = tried or _by_flops(work, works[0], found.get("proxies"), rate)
    return found


def _by_flops(work: Work, other: Work, speed: Speed | None, rate: float) -> Speed:
    """By the FLOP/s that smaller models reach here, or ``rate``, half the matrix rate."""
    if speed is not None:
        rate, source = other.flops / other.steps / speed.step, "by FLOPs, at the proxies' rate: too large to try here"
    else:
        source = "by FLOPs, at half the matrix rate: too large to try here"
    step = work.flops / work.steps / rate
    return Speed(
        startup=stated.WORKER_STARTUP["cpu"],
        loading=stated.MODEL_OVERHEAD,
        step=step,
        sampling=work.sampled_windows * work.window_flops / rate,
        writing=work.parameters * 4 / 2e8,
        evaluation=evaluation_seconds(work, step),
        source=source,
    )
