"""Every stage's wall time, in the order in which they run, and where each figure comes from."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.planning import stated
from regmix_pipeline.planning.fitting import FittingSeconds
from regmix_pipeline.planning.rates import Trainers
from regmix_pipeline.planning.recorded import RecordedWork
from regmix_pipeline.planning.text import Text, TextSpeed, tokenizer_sample
from regmix_pipeline.planning.work import LARGER, SIZES, STRATEGIES, Comparison, Work
from regmix_pipeline.stages import STAGES
from regmix_pipeline.study.phases import coordinates
from regmix_pipeline.study.study import Study

TRAINING = ("phase_checkpoints", "proxy_checkpoints", "proxy_losses", SIZES, "confirmation", STRATEGIES)
"""Stages that run on the devices."""


@dataclass(frozen=True)
class StagePlan:
    """One stage's part.

    Attributes:
        stage: its name.
        seconds: wall time of making all of it.
        left: wall time of what is still to be made.
        devices: devices that it keeps busy; 0 for stages that need none.
        source: where the seconds come from.
    """

    stage: str
    seconds: float
    left: float
    devices: int
    source: str


def stage_plans(
    study: Study,
    works: tuple[Work, ...],
    trainers: Trainers,
    text: Text,
    speed: TextSpeed,
    fitting: FittingSeconds,
    made: RecordedWork,
) -> tuple[StagePlan, ...]:
    """All stages in order; each that has work carries a Dagster run's overhead, the first one the command's start."""
    own: dict[str, tuple[float, float, int, str]] = {}

    def plain(stage: str, seconds: float, source: str) -> None:
        own[stage] = seconds, seconds * made.left_of(stage), 0, source

    for stage, seconds in stated.SMALL_STAGES_SECONDS.items():
        recorded = made.seconds.get(stage)
        plain(stage, recorded or seconds, "recorded here" if recorded else "stated")
    if study.trains:
        megabytes = text.bytes / 1e6
        plain("documents", megabytes / stated.OBSERVE_MB, "stated: hashing at 1 GB/s; downloads not counted")
        training = min(tokenizer_sample(study), text.bytes) / 1e6 * speed.training_per_megabyte
        recorded = made.seconds.get("tokenizer")
        plain("tokenizer", recorded or training, "recorded here" if recorded else speed.source)
        plain("token_shards", speed.beginning + megabytes / speed.megabytes_per_second, speed.source)
        sampling = stated.mixtures_seconds(study.mixtures.count, study.mixtures.oversample, len(coordinates(study)))
        plain("mixtures", made.seconds.get("mixtures") or sampling, "stated")
        plain("further_mixtures", fitting.proposals, fitting.source)
    plain("regressor", fitting.regressor, fitting.source)
    plain("optimal_mixture", fitting.search, fitting.source)
    for work in works:
        left, busy, source = made.to_train[work.what].models, trainers.devices(work), trainers.source(work)
        train, measure = trainers.training(work, work.models), trainers.measuring(work, work.models)
        if work.before:
            # Of larger models the stage that trains them trains this one first.
            stage = {"proxies": "phase_checkpoints", "confirmation": "confirmation"}.get(work.before, SIZES)
            before = own.get(stage, (0.0, 0.0, 0, source))
            rest = trainers.training(work, left)
            own[stage] = before[0] + train, before[1] + rest, max(before[2], busy), source
        elif isinstance(work.what, Comparison):
            before = own.get(STRATEGIES, (0.0, 0.0, 0, source))
            rest = trainers.training(work, left) + measure * made.left_of(STRATEGIES)
            parts = before[0] + train + measure, before[1] + rest, max(before[2], busy)
            own[STRATEGIES] = *parts, f"{source}; at most, where no two strategies share a run"
        elif work.what == "proxies":
            own["proxy_checkpoints"] = train, trainers.training(work, left), busy, source
            losses_left = measure * made.left_of("proxy_losses")
            own["proxy_losses"] = measure, losses_left, busy, source
        elif work.what.startswith(LARGER):
            before = own.get(SIZES, (0.0, 0.0, 0, source))
            rest = trainers.training(work, left) + measure * made.left_of(SIZES)
            own[SIZES] = before[0] + train + measure, before[1] + rest, max(before[2], busy), source
        else:
            rest = trainers.training(work, left) + measure * made.left_of("confirmation")
            own["confirmation"] = train + measure, rest, busy, source
    if not study.imports:
        del own["imported_runs"]
    if not study.counts_ngrams:
        del own["ngram_models"]
    plans, beginning = [], stated.BEGINNING_SECONDS
    for stage in STAGES:
        if stage.name not in own:
            continue
        seconds, left, devices, source = own[stage.name]
        run = stated.STAGE_SECONDS
        stale = left > 0 or made.left_of(stage.name) > 0
        plans.append(StagePlan(stage.name, seconds + run + beginning, left + run * stale + beginning, devices, source))
        beginning = 0.0
    return tuple(plans)
