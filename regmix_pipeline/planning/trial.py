# ruff: noqa: TID253  (a process of its own, started by `measured.trial`)
"""A worker's trial: a few real steps and evaluations of a study's own model, and what each of them took.

Started as ``python -P -m regmix_pipeline.planning.trial`` with a worker's environment. It answers ``ready`` once its
model stands, waits for a line so that all workers train at the same time, as they will, and answers with its times.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.evaluate import Sample, evaluate_proxy, losses_on
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stack.size import best_size
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.stack.units import AUTOMATIC
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.prepare import prepare_torch
from regmix_pipeline.proxies.workers.worker import answers_no_signals

_WARM_UP = 2
_FEW_PASSES = 4
"""Passes of a step up to which whole steps are timed; beyond, steps of one and of two, and the rest is counted up."""


def main() -> None:
    """Read a job, answer ready, wait, answer with the times."""
    answers_no_signals()
    prepare_torch()
    for library in ("pyarrow.parquet", "safetensors.torch"):  # a worker's memory holds what writes, too
        importlib.import_module(library)
    job = json.loads(sys.stdin.readline())
    spec = ProxySpec.model_validate(job["spec"])
    started = time.perf_counter()
    device = device_of("auto")
    specs = [spec.model_copy(update={"seed": spec.seed + number}) for number in range(_stack_of(job, spec, device))]
    trainers = TriedLoops(specs, device)
    loading = (time.perf_counter() - started) / len(specs)
    print(json.dumps({"ready": True}), flush=True)
    if not sys.stdin.readline():
        return
    per_pass = max(1, spec.model.tokens_per_pass(device.type) // spec.model.context)
    wall, cpu = time.perf_counter(), time.process_time()
    passes = -(-spec.training.windows_per_step // per_pass)
    if passes <= _FEW_PASSES:
        step = _of_steps(trainers, job["seconds"])
    else:  # one after the other, so that the peak is a worker's
        del trainers
        trainers = TriedLoops([_short(each, per_pass, 1) for each in specs], device)
        one = _of_steps(trainers, job["seconds"] / 2)
        del trainers
        trainers = TriedLoops([_short(each, per_pass, 2) for each in specs], device)
        step = one + max(_of_steps(trainers, job["seconds"] / 2) - one, 0.0) * (passes - 1)
    busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
    peak = _peak_bytes()
    (name, file), *_ = spec.targets.items()
    sample = Sample(name, file, spec.model.context, spec.evaluation.windows)
    measuring = _seconds(lambda: losses_on(trainers.loops[0].model, [sample]), device, job["seconds"] / 8)
    writing, evaluation = _written(_short(spec, per_pass, 1))
    answer = {
        "loading": loading,
        "stack": len(specs),
        "step": step / len(specs),
        "window": measuring / len(sample.rows),
        "writing": writing,
        "evaluation": evaluation,
        "peak_bytes": peak,
        "core_share": busy,
        "device": device.type,
    }
    print(json.dumps(answer), flush=True)


class TriedLoops:
    """Trainings that a worker has at once: one, or a stack."""

    def __init__(self, specs: Sequence[ProxySpec], device: torch.device) -> None:
        self.loops = [TrainingLoop(spec, device) for spec in specs]
        self.device, self.steps = device, self.loops[0].steps
        self.stack = Stack(self.loops) if len(specs) > 1 else None

    def step(self) -> None:
        """One step of each."""
        if self.stack is None:
            self.loops[0].step()
        else:
            self.stack.step([loop.next_rows() for loop in self.loops])


def _stack_of(job: dict[str, Any], spec: ProxySpec, device: torch.device) -> int:
    if job["stack"] is not None:
        return job["stack"]
    return best_size([spec.model_copy(update={"seed": number}) for number in range(AUTOMATIC)], device)


def _of_steps(trainer: TriedLoops, seconds: float) -> float:
    """Seconds of a step, after some that allocate."""
    started = time.perf_counter()
    for _ in range(_WARM_UP):
        trainer.step()
        if time.perf_counter() - started > seconds:
            break  # what is allocated once is little beside so long a step
    return _seconds(trainer.step, trainer.device, seconds, most=trainer.steps - _WARM_UP)


def _short(spec: ProxySpec, per_pass: int, passes: int) -> ProxySpec:
    """The same model with few windows a step."""
    windows = min(per_pass * passes, spec.training.windows_per_step)
    tokens = 64 * windows * spec.model.context
    training = spec.training.model_copy(update={"windows_per_step": windows, "tokens": tokens, "warmup_steps": 2})
    return spec.model_copy(update={"training": training})


def _seconds(work: Any, device: torch.device, seconds: float, most: int = 1 << 30) -> float:
    """Seconds of one call, the mean over at least one and about ``seconds``."""
    _synchronise(device)
    started, calls = time.perf_counter(), 0
    while calls < max(1, most) and (not calls or time.perf_counter() - started < seconds):
        work()
        calls += 1
    _synchronise(device)
    return (time.perf_counter() - started) / calls


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _written(spec: ProxySpec) -> tuple[float, float]:
    """Seconds to write a finished proxy, and to measure it on one target."""
    value: dict[str, Any] = {}
    writing = 0.0
    for seed in (spec.seed, spec.seed + 1_000):  # the first one imports what writes
        started = time.perf_counter()
        value = train_proxy(spec.model_copy(update={"stop_at": 1, "targets": {}, "seed": seed}))
        writing = time.perf_counter() - started - value["seconds"]["total"]
    evaluation = 0.0
    for number, (name, file) in enumerate(spec.targets.items()):
        task = EvaluationSpec(
            proxy=spec.output.parent / value["id"],
            target=name,
            tokens=file,
            evaluation=spec.evaluation,
            folder=spec.folder / f"losses-{number}",
        )
        started = time.perf_counter()
        evaluate_proxy(task)
        evaluation = time.perf_counter() - started  # of the last one: the first imports what reads
    return max(writing, 0.0), evaluation


def _peak_bytes() -> int:
    """Most that this process held. Not getrusage's, which begins at what the parent held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
