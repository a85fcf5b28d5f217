"""This machine's speed at a study's own models: real steps in as many workers at once as will train.

One worker alone would be too fast: cores share caches and memory bandwidth.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.errors import PlanError
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import Work
from regmix_pipeline.processes import WORKER_SETTINGS, Child, how_it_ended
from regmix_pipeline.proxies.memory import worker_memory
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile, TokenFile
from regmix_pipeline.study.settings.proxies import EvaluationSettings

SECONDS = 4.0
"""Time that steps are measured for."""
STARTING = 6.0
"""Seconds until a trial's workers stand."""
LONGEST = 30.0
"""Seconds that a trial's own work should take at most; a model that would take longer is not tried."""
DEADLINE = 4 * LONGEST
"""Seconds after which a trial is given up: the machine is busier than its matrix rate suggested."""
_PASSES = 14
"""Passes of a trial: steps of one and of two, models written, losses measured."""
_TARGETS = 2
_TOKENS = 4096
"""Tokens that a trial measures losses on; a study's windows are counted up from there."""


def fits_a_trial(work: Work, workers: int, rate: float, stack: int = 1) -> bool:
    """Whether so many workers can be tried on this machine at once, each with ``stack`` models, in memory and, at
    ``rate`` FLOP/s, in time."""
    need = worker_memory(work.model, work.vocabulary, work.training.windows_per_step, stack=stack).total * workers
    return need < 0.9 * available_bytes() and trial_seconds(work, rate, stack) < LONGEST + SECONDS


def trial_seconds(work: Work, rate: float, stack: int = 1) -> float:
    """Seconds that a trial's own work takes at so many FLOP/s."""
    tokens = max(2048, work.model.context)
    return SECONDS + stack * _PASSES * work.flops / work.tokens * tokens / rate


def available_bytes() -> float:
    """Bytes of memory that this machine has left."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def trial(
    work: Work, domains: Sequence[str], workers: int, seconds: float = SECONDS, stack: int | None = 1
) -> Speed | None:
    """Train for a few seconds in each of ``workers`` processes at once; None where that takes longer than `DEADLINE`.

    Args:
        work: which models.
        domains: names of the study's domains; each is given random tokens, whose values cost nothing.
        workers: processes, or as many as there are models if those are fewer.
        seconds: time that steps are measured for.
        stack: models that each process trains as one program; None lets it find out.

    Raises:
        PlanError: a worker died.
    """
    workers = min(workers, work.models)
    with tempfile.TemporaryDirectory(prefix="regmix-plan-") as folder:
        specs = [_spec(work, domains, Path(folder), number) for number in range(workers)]
        deadline = time.monotonic() + DEADLINE
        started = time.perf_counter()
        children = [
            Child("regmix_pipeline.planning.trial", WORKER_SETTINGS | {"REGMIX_WORKER": str(number)})
            for number in range(workers)
        ]
        try:
            for child, spec in zip(children, specs, strict=True):
                child.tell({"spec": spec.model_dump(mode="json"), "seconds": seconds, "stack": stack})
            ready = []
            for child in children:
                if _answer(child, work, deadline) is None:
                    return None
                ready.append(time.perf_counter() - started)
            for child in children:
                child.tell({})
            answers: list[dict[str, Any]] = []
            for child in children:
                answer = _answer(child, work, deadline)
                if answer is None:
                    return None
                answers.append(answer)
        finally:
            for child in children:
                child.stop()
    mean = {
        name: float(np.mean([answer[name] for answer in answers]))
        for name in ("loading", "step", "window", "writing", "evaluation", "core_share")
    }
    more = work.windows - specs[0].evaluation.windows
    return Speed(
        startup=max(float(np.mean(ready)) - mean["loading"], 0.0),
        loading=mean["loading"],
        step=mean["step"],
        sampling=work.sampled_windows * mean["window"],
        writing=mean["writing"],
        evaluation=mean["evaluation"] + more * mean["window"],
        source=f"measured here, {workers} worker{'s' if workers > 1 else ''} at once"
        + (f", each with {answers[0]['stack']} models as one program" if answers[0]["stack"] > 1 else ""),
        peak_bytes=int(max(answer["peak_bytes"] for answer in answers)) if answers[0]["device"] == "cpu" else 0,
        workers=workers,
        stack=answers[0]["stack"],
        core_share=min(mean["core_share"], 1.0) if answers[0]["device"] == "cpu" else 1.0,
    )


def _spec(work: Work, domains: Sequence[str], folder: Path, number: int) -> ProxySpec:
    """A model on random tokens, evenly mixed; workers share the files, as they do in a study."""
    windows = min(work.windows, max(2, _TOKENS // work.model.context))
    size = work.model.context * windows + 1
    wide = work.vocabulary > 1 << 16
    path = folder / "tokens.ds"
    if not path.is_file():
        share = np.random.Generator(np.random.PCG64(0)).random(size)
        # Frequent tokens first, as in text.
        (share**3 * work.vocabulary).astype("<u4" if wide else "<u2").tofile(path)
    kind: Any = "uint32" if wide else "uint16"
    file = TokenFile(path=path, dtype=kind, tokens=size, version="trial")
    target = TargetFile(**file.model_dump(), bytes=4 * size)
    part, more = divmod(PARTS, len(domains))
    mixture = {name: part + (position < more) for position, name in enumerate(domains)}
    return ProxySpec(
        mixture=mixture,
        model=work.model,
        vocabulary=work.vocabulary,
        training=work.training,
        seed=number,
        shards=dict.fromkeys(domains, file),
        targets={f"target_{position}": target for position in range(min(work.targets, _TARGETS))},
        evaluation=EvaluationSettings(windows=windows, trajectory_points=0),
        folder=folder / f"worker-{number}",
    )


def _answer(child: Child, work: Work, deadline: float) -> dict[str, Any] | None:
    """A worker's next answer; None where it has not come by the deadline."""
    if not select.select([child.answers], [], [], max(deadline - time.monotonic(), 0.0))[0]:
        return None
    answer = child.answer()
    if answer is None:
        raise PlanError(
            f"a trial of {work.parameters / 1e6:,.1f} M parameters {how_it_ended(child.end())}",
            where=work.what,
            remedy="its message is above; if memory ran out, give --workers, or plan for other hardware: --hardware",
        )
    return answer


def matrix_rate(seconds: float = 0.5, size: int = 1024) -> float:
    """FLOP/s of square float32 matrix products on one core, measured for about ``seconds``."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.randn(size, size), torch.randn(size, size)
        torch.mm(left, right)
        started, products = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            torch.mm(left, right)
            products += 1
        return products * 2 * size**3 / (time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
