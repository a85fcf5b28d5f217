"""What a study takes: every stage's seconds, and where each figure comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.commands import Commands, command_seconds
from regmix_pipeline.planning.disk import disk_of, ledger_rows
from regmix_pipeline.planning.fitting import FittingSeconds, fitting_trial, stated_seconds
from regmix_pipeline.planning.hardware import Hardware
from regmix_pipeline.planning.here import speeds_here
from regmix_pipeline.planning.rates import Devices, Trainers, Workers
from regmix_pipeline.planning.recorded import RecordedWork, ToTrain, made_of, nothing_made
from regmix_pipeline.planning.stage_plans import TRAINING, StagePlan, stage_plans
from regmix_pipeline.planning.text import Text, TextSpeed, recorded_text_speed, stated_speed, text_of, text_trial
from regmix_pipeline.planning.work import STRATEGIES, Work, caps_of, mixture_count, works_of
from regmix_pipeline.progress import Say, to_nobody
from regmix_pipeline.proxies.memory import Memory
from regmix_pipeline.proxies.workers.local import commands_at_once, devices_here, stacking_workers
from regmix_pipeline.study.study import Study


@dataclass(frozen=True)
class StudyPlan:
    """What a study takes.

    Attributes:
        study: its name.
        domains, targets, mixtures: how many.
        vocabulary: rows of the embedding.
        machine: what it is planned for.
        hardware: of the catalogue or a file; None for this machine.
        workers: models that train at once.
        works: proxies, then the confirmation and the comparison's, if there are such.
        to_train: batch -> what is still to be trained of it, as `regmix status` forecasts.
        guesses: why something of it is an upper bound, in words.
        at_once: batch -> devices, and models that train at once on each of them.
        per_model: batch -> devices that one of its models trains on.
        divided: batch -> whether each of those holds only its part of the model.
        memory: batch -> what one worker needs.
        peaks: batch -> bytes that a worker was measured to hold, where it was.
        stages: every stage, in order; the orchestration of stages and proxies is a part of each.
        orchestration: seconds of that part, all stages together.
        text: how much is tokenised.
        disk: what -> bytes.
        rows: table of the ledger -> rows.
        caps: domain -> highest weight, for domains whose available tokens the study states.
        warnings: what would stop the study there.
    """

    study: str
    domains: int
    targets: int
    mixtures: int
    vocabulary: int
    machine: str
    hardware: Hardware | None
    workers: int
    works: tuple[Work, ...]
    to_train: Mapping[str, ToTrain]
    guesses: tuple[str, ...]
    at_once: Mapping[str, tuple[int, int]]
    per_model: Mapping[str, int]
    divided: Mapping[str, bool]
    memory: Mapping[str, Memory]
    peaks: Mapping[str, int]
    stages: tuple[StagePlan, ...]
    orchestration: float
    text: Text
    disk: Mapping[str, float]
    rows: Mapping[str, int]
    caps: Mapping[str, float]
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Wall time of the whole study, from nothing."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def left(self) -> float:
        """Wall time of what is still to be made."""
        return sum(stage.left for stage in self.stages)

    @property
    def training_seconds(self) -> float:
        """Wall time of the stages that run on the devices."""
        return sum(stage.seconds for stage in self.stages if stage.stage in TRAINING)

    def device_hours(self, *, left: bool = False) -> float:
        """Hours of busy devices, all together."""
        return sum((stage.left if left else stage.seconds) * stage.devices for stage in self.stages) / 3600

    def cost(self, *, left: bool = False) -> float | None:
        """Price of the device hours; None without a price."""
        if self.hardware is None or not self.hardware.price_per_hour:
            return None
        return self.device_hours(left=left) * self.hardware.price_per_hour

    def disk_cost(self) -> float | None:
        """Price of a month of what stays on disk; None without a price."""
        if self.hardware is None or not self.hardware.disk_price:
            return None
        kept = sum(size for what, size in self.disk.items() if what != "snapshots")
        return kept / 1e9 * self.hardware.disk_price


def plan_study(
    study: Study,
    *,
    teraflops: float | None = None,
    hardware: Hardware | None = None,
    base: Path | None = None,
    workspace: Workspace | None = None,
    workers: int | None = None,
    say: Say = to_nobody,
) -> StudyPlan:
    """Plan a study; no text, tokenizer or model needs to be there.

    Args:
        study: the study.
        teraflops: sustained TFLOP/s of the hardware, all devices together.
        hardware: what to plan for; None, without ``teraflops`` as well, measures this machine, which takes up to a
            minute, or uses what the workspace's home recorded.
        base: folder that a relative tokenizer file starts at; None does not look for the file.
        workspace: the study on disk: what is made already, its files, its recorded times.
        workers: processes that train at once on this machine.
        say: called with a line about every trial before it begins, and how long it may take.

    Raises:
        PlanError: a trial failed, or a model does not fit the hardware.
    """
    works = works_of(study, base)
    workers = workers or (workspace.workers if workspace is not None else None) or study.proxies.workers
    engine = study.proxies.engine.overridden()
    stack, gpus = engine.stack, engine.gpus_per_model if engine.kind == "local" else 1
    workers = workers or (stacking_workers(stack) if study.proxies.trainer is None else commands_at_once(study))
    here = hardware is None and teraflops is None
    if teraflops is not None:
        hardware = _as_given(teraflops, workers)
    made = made_of(workspace, works) if workspace is not None else nothing_made(works)
    # A home may have more mixtures than the study's count: those that were proposed and trained.
    works = tuple(replace(work, models=max(work.models, made.to_train[work.what].models)) for work in works)
    cores = hardware.cores if hardware is not None else len(os.sched_getaffinity(0))
    text_speed, fitting = stated_speed(cores), stated_seconds(study, cores)
    if here:
        text_speed, fitting = _tried(study, workspace, workers, text_speed, fitting, made, say)
    text = text_of(study, works, workspace, text_speed.bytes_per_token)
    if hardware is not None:
        given = teraflops is not None
        said = "as given" if given else f"{hardware.name}, by its stated rate"
        trainers: Trainers = Devices(hardware, said, stack, gpus if hardware.kind == "cuda" else 1, engine.divide)
        machine = f"{teraflops:g} TFLOP/s as given" if given else f"{hardware.devices} x {hardware.name}"
        peaks: dict[str, int] = {}
    else:
        speeds = speeds_here(study, works, workspace, workers, say)
        trainers, machine = (
            Workers(workers, speeds, devices_here(), gpus, engine.divide),
            f"this machine, {workers} workers",
        )
        peaks = {what: speed.peak_bytes for what, speed in speeds.items() if speed.peak_bytes}
    trainer = study.proxies.trainer
    if trainer is not None and works:
        at_once = hardware.devices if hardware is not None else workers
        trainers = Commands(trainers, at_once, *command_seconds(workspace, trainer, works[0]))
    stages = stage_plans(study, works, trainers, text, text_speed, fitting, made)
    mixtures = mixture_count(study)
    working = sum(stage.stage != "imported_runs" for stage in stages)
    orchestration = stated.BEGINNING_SECONDS + working * stated.STAGE_SECONDS
    orchestration += sum(work.models for work in works[:1]) * stated.ORCHESTRATION_SECONDS
    return StudyPlan(
        study.name,
        len(study.domains),
        len(study.targets),
        mixtures,
        works[0].vocabulary if works else 0,
        machine,
        hardware,
        trainers.workers,
        works,
        made.to_train,
        made.guesses,
        {work.what: (trainers.devices(work), trainers.stack(work)) for work in works},
        {work.what: trainers.per_model(work) for work in works},
        {work.what: trainers.divided(work) for work in works},
        {work.what: trainers.memory(work) for work in works},
        peaks,
        stages,
        orchestration,
        text,
        disk_of(study, works, text, trainers.workers),
        ledger_rows(study, works),
        caps_of(study),
        (*(warning for work in works for warning in trainers.warnings(work)), *_not_counted(study)),
    )


def _not_counted(study: Study) -> list[str]:
    """What the study asks for and no figure covers."""
    found = []
    if study.strategies is not None:
        found.append(f"{STRATEGIES}: what strategies take to fit and to choose is not counted")
    if study.proxies.early_stopping is not None:
        found.append(
            "early stopping: proxies are counted to their end; what stops early is known once pilots are trained"
        )
    return found


def _as_given(teraflops: float, workers: int) -> Hardware:
    """Any device of this rate; its memory is not asked for."""
    return Hardware(
        name="the hardware",
        kind="cpu",
        devices=1,
        sustained_teraflops={1: teraflops},
        memory_gb=1e9,
        proxies_per_device=workers,
        cores=len(os.sched_getaffinity(0)),
    )


def _tried(
    study: Study,
    workspace: Workspace | None,
    workers: int,
    text_speed: TextSpeed,
    fitting: FittingSeconds,
    made: RecordedWork,
    say: Say,
) -> tuple[TextSpeed, FittingSeconds]:
    """The speeds of this machine at text and at regression: recorded, else tried, else stated."""
    if workspace is not None:
        recorded = recorded_text_speed(workspace, text_speed)
        if recorded is None:
            say("  plan: trying to read and tokenise the beginning of the text: about 5s")
        text_speed = recorded or text_trial(study, workspace) or text_speed
    if made.seconds.get("regressor"):
        return text_speed, replace(
            fitting,
            regressor=made.seconds["regressor"],
            search=made.seconds.get("optimal_mixture") or fitting.search,
            proposals=made.seconds.get("further_mixtures") or fitting.proposals,
            source="recorded here",
        )
    return text_speed, fitting_trial(study, workers, say) or fitting
