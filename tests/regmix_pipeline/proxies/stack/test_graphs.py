# ruff: noqa: TID253
"""What CUDA graphs record, on a CPU: work on buffers that stay where they are, and that never waits for a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.graphs import WARM, StepGraphs, graphs_of
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop

SpecOf = Callable[..., ProxySpec]
CPU = torch.device("cpu")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "_to_copy.cpu", "repeat_interleave"}


class NoWaiting(TorchDispatchMode):
    """Refuses what reads a value of the device, or makes a shape depend on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            each is not None and each.dtype == torch.bool
            for given in args
            if isinstance(given, (list, tuple))
            for each in given
        )
        if name in WAITING or by_mask:
            raise RuntimeError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def stack_of(spec_of: SpecOf, number: int, **changes: Any) -> Stack:
    return Stack([TrainingLoop(spec_of(seed=seed, **changes), CPU) for seed in range(number)], batched=True)


def rows_of(stack: Stack) -> list[Any]:
    return [trainer.next_rows() for trainer in stack.trainers]


def again(work: Callable[[], None]) -> Callable[[], None]:
    """What is recorded here is simply done again."""
    return work


def four_passes(stack: Stack) -> list[torch.Tensor]:
    return [part for whole in stack.passes(rows_of(stack)) for part in whole.chunk(4, 1)]


def test_steps_on_buffers_are_the_steps(spec_of: SpecOf) -> None:
    plain, buffered = stack_of(spec_of, 3), stack_of(spec_of, 3)
    graphs = StepGraphs(buffered, four_passes(buffered), again)
    for _ in range(6):
        plain.step(rows_of(plain))
        rates = [trainer.learning_rate for trainer in buffered.trainers]
        for trainer, loss, norm in zip(buffered.trainers, *graphs.step(four_passes(buffered), rates), strict=True):
            trainer.took(loss, norm)
    for one, other in zip(plain.trainers, buffered.trainers, strict=True):
        torch.testing.assert_close(one.losses[:6], other.losses[:6], rtol=0, atol=1e-5)
        torch.testing.assert_close(one.norms[:6], other.norms[:6], rtol=1e-4, atol=0)
        torch.testing.assert_close(one.flat, other.flat, rtol=0, atol=1e-5)
        assert len(set(one.losses[:6].tolist())) == 6


@pytest.mark.parametrize("bfloat16", [True, False])
def test_nothing_that_is_recorded_waits_for_the_device(spec_of: SpecOf, *, bfloat16: bool) -> None:
    """In bfloat16, as on CUDA. In float32 a CPU looks at the logits' range, which shows that looking is noticed."""
    stack = stack_of(spec_of, 2)
    parts = stack.passes(rows_of(stack))
    graphs = StepGraphs(stack, parts, again)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16), NoWaiting():
        graphs.run_update()
        if bfloat16:
            graphs.run_pass()
        else:
            with pytest.raises(RuntimeError, match="_local_scalar_dense waits"):
                graphs.run_pass()


def test_a_cpu_takes_its_steps_kernel_by_kernel(spec_of: SpecOf) -> None:
    stack = stack_of(spec_of, 2)
    for _ in range(WARM + 2):
        stack.step(rows_of(stack))
    assert stack.graphs is None
    assert graphs_of(stack, stack.passes(rows_of(stack))) is None
