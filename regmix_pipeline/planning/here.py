"""How fast this machine trains a study's models: as its home recorded, else as a trial shows, else by FLOPs."""

from __future__ import annotations

from regmix_pipeline.lab import Lab
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.measured import fits_a_trial, matrix_rate, trial
from regmix_pipeline.planning.rates import evaluation_seconds
from regmix_pipeline.planning.recorded import recorded_speed
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import Work
from regmix_pipeline.study import Study

EFFICIENCY = 0.5
"""Share of the matrix rate that whole training steps reach, where no step can be tried."""


def speeds_here(study: Study, works: tuple[Work, ...], lab: Lab | None, workers: int) -> dict[str, Speed]:
    """Batch of models -> a worker's speed.

    Raises:
        PlanError: a trial failed.
    """
    found: dict[str, Speed] = {}
    for work in works:
        recorded = recorded_speed(lab, work) if lab is not None else None
        if recorded is not None:
            found[work.what] = recorded
        elif fits_a_trial(work, min(workers, work.models)):
            found[work.what] = trial(work, list(study.domains), workers)
        else:
            found[work.what] = _by_flops(work, works[0], found.get("proxies"))
    return found


def _by_flops(work: Work, other: Work, speed: Speed | None) -> Speed:
    """By the FLOP/s that smaller models reach here, or half the matrix rate."""
    if speed is not None:
        rate, source = other.flops / other.steps / speed.step, "by FLOPs, at the proxies' rate: too large to try here"
    else:
        rate, source = matrix_rate() * EFFICIENCY, "by FLOPs, at half the matrix rate: too large to try here"
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
