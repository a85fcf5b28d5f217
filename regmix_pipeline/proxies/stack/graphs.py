# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A stack's step as CUDA graphs: a pass of windows and the update are each recorded once, and launched as one.

A stack of small models starts hundreds of short kernels a pass and several a proxy for the update; started one by one
they leave the device waiting for Python. Whatever a graph reads or writes has its place for good: windows, losses,
learning rates and norms are buffers here, parameters, gradients and averages are the stack's rows. One graph of a pass
is launched for every pass, because the 512 passes of a step of 64 proxies would make a graph of some 400,000 kernels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from regmix_pipeline.proxies.stack.steps import Stack

WARM = 2
"""Steps before those that are recorded: they compile and allocate."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""From work on buffers to what does the same work again."""


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Record the CUDA kernels that ``work`` starts, without running them; returns what launches them.

    Raises:
        RuntimeError: ``work`` waits for the device, or does something else that no graph can hold.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class StepGraphs:
    """Steps of a stack whose passes are alike.

    Args:
        stack: whose steps they are.
        parts: the windows of each pass of a step, all of one shape (K, B, T + 1).
        recorded: how work is recorded; a test gives one that needs no device.

    Attributes:
        run_pass: adds the gradients and losses of the windows that are in the buffer.
        run_update: clips and takes AdamW's step.
    """

    def __init__(self, stack: Stack, parts: Sequence[Tensor], recorded: Record = record) -> None:
        windows = self._windows = torch.empty_like(parts[0])
        windows.copy_(parts[0])
        buffers = (torch.zeros(len(stack.trainers), device=windows.device) for _ in range(3))
        losses, norms, rates = self._losses, self._norms, self._rates = tuple(buffers)
        self._gradient = stack.gradient
        scale = stack.scale(parts)

        def one_pass() -> None:
            losses.add_(stack.add_gradients(windows, scale))

        def update() -> None:
            for trainer, norm, rate in zip(stack.trainers, norms, rates, strict=True):
                norm.copy_(trainer.optimiser.step(rate))

        self.run_pass, self.run_update = recorded(one_pass), recorded(update)

    def step(self, parts: Sequence[Tensor], rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """One step of every training; see `Stack.taken_step`."""
        self._losses.zero_()
        self._gradient.zero_()
        self._rates.copy_(torch.tensor(rates))
        for part in parts:
            self._windows.copy_(part)
            self.run_pass()
        self.run_update()
        return self._losses, self._norms


def graphs_of(stack: Stack, parts: Sequence[Tensor]) -> StepGraphs | None:
    """The graphs of a stack's steps, or None where its steps are taken kernel by kernel.

    That is on a CPU, where passes of a step differ in size, with ``REGMIX_CUDA_GRAPHS=0``, and where recording fails,
    which is said and costs speed alone.
    """
    alike = len({part.shape for part in parts}) == 1
    if stack.device.type != "cuda" or not alike or os.environ.get("REGMIX_CUDA_GRAPHS") == "0":
        return None
    try:
        return StepGraphs(stack, parts)
    except RuntimeError as error:  # of memory too: graphs keep what a pass allocates
        print(f"no CUDA graphs: {str(error).splitlines()[0]}; steps start kernel by kernel", file=sys.stderr)
        return None
