# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""How many proxies of one shape a device is best at: as many as its memory holds and a trial finds worth while."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from regmix_pipeline.proxies.memory import worker_memory
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.graphs import WARM
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop

SHARE = 0.9
"""Of the memory that is free."""
GAIN = 1.05
"""A larger stack must train so many times as fast: a smaller one ends earlier, and loses less when it is killed."""
_STEPS = 3
_FACTOR = 4

_best: dict[tuple[str, ...], int] = {}
"""What this process found for a shape on a device."""


def best_size(specs: Sequence[ProxySpec], device: torch.device) -> int:
    """The number of proxies, at most all, to train at once.

    Tries 1, 4, 16, ... and all of them, each by three steps of one pass. A stack that does not fit after all ends the
    trial.

    Args:
        specs: of one shape.
        device: where they train; on a CPU without a trial one.
    """
    if device.type != "cuda":
        return 1
    first = specs[0]
    key = (str(device), first.model.model_dump_json(), str(first.vocabulary), str(len(specs)))
    if key not in _best:
        free, _ = torch.cuda.mem_get_info(device)
        _best[key] = tried(specs[: fitting(first, len(specs), SHARE * free)], device)
    return _best[key]


def fitting(spec: ProxySpec, most: int, free: float) -> int:
    """The largest stack of such proxies, up to ``most``, in ``free`` bytes of a CUDA device; at least one."""

    def fits(stack: int) -> bool:
        memory = worker_memory(spec.model, spec.vocabulary, spec.training.windows_per_step, "cuda", stack)
        return memory.total - memory.process <= free  # the process is there already

    return max((stack for stack in range(2, most + 1) if fits(stack)), default=1)


def tried(specs: Sequence[ProxySpec], device: torch.device) -> int:
    """The smallest stack that is nearly as fast as any that was tried."""
    rates: dict[int, float] = {}
    for size in _sizes(len(specs)):
        try:
            rates[size] = _rate(specs[:size], device)
        except torch.OutOfMemoryError:
            break
    fastest = max(rates.values(), default=0.0)
    return next((size for size, rate in rates.items() if rate * GAIN >= fastest), 1)


def _sizes(most: int) -> Iterator[int]:
    size = 1
    while size < most:
        yield size
        size *= _FACTOR
    yield most


def _rate(specs: Sequence[ProxySpec], device: torch.device) -> float:
    """Tokens a second of all the proxies together."""
    stack = Stack([TrainingLoop(_short(spec, len(specs), device), device) for spec in specs])
    rows = [trainer.next_rows() for trainer in stack.trainers]
    for _ in range(WARM + 1):  # they compile, allocate, and record graphs
        stack.step(rows)
    started = time.perf_counter()
    for _ in range(_STEPS):
        stack.step(rows)
    tokens = _STEPS * sum(row.shape[0] * specs[0].model.context for row in rows)
    return tokens / (time.perf_counter() - started)


def _short(spec: ProxySpec, stack: int, device: torch.device) -> ProxySpec:
    """The same model with steps of one pass."""
    share = stack if device.type == "cuda" else 1
    per_pass = max(1, spec.model.tokens_per_pass(device.type) // share // spec.model.context)
    windows = min(per_pass, spec.training.windows_per_step)
    tokens = 8 * windows * spec.model.context
    training = spec.training.model_copy(update={"windows_per_step": windows, "tokens": tokens, "warmup_steps": 2})
    return spec.model_copy(update={"training": training, "start": None, "stop_at": None, "landmark": None})
