# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""Steps of several proxies of one shape at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regmix_pipeline.proxies.device import autocast
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.stack.graphs import WARM, StepGraphs, graphs_of
from regmix_pipeline.proxies.stack.model import stacked_hidden
from regmix_pipeline.proxies.training_loop import TrainingLoop

HEAD = "head"
"""The parameter whose gradient the loss itself adds up."""
_ALIGNED = 16
"""Numbers that a proxy's row of parameters is a multiple of: it then begins where an allocation of its own might."""


class Stack:
    """Trainings whose parameters, gradients and averages are rows of four tensors of shape (K, parameters).

    Windows, losses, clipping, learning rates and the number of steps taken stay each training's own. All of them can
    be used as before; whoever leaves keeps what it has.

    Args:
        trainers: of one shape and on one device; they move into the stack.
        batched: whether products are batched; default on CUDA.
    """

    def __init__(self, trainers: Sequence[TrainingLoop], batched: bool | None = None) -> None:
        self.trainers = list(trainers)
        first = self.trainers[0]
        self.device, self.model = first.device, first.spec.model
        self.batched = self.device.type == "cuda" if batched is None else batched
        size = first.flat.numel()
        wide = -(-size // _ALIGNED) * _ALIGNED
        # Tensor by tensor, so that a second copy is there of one of them only.
        rows = [torch.zeros(len(self.trainers), wide, device=self.device)[:, :size] for _ in range(4)]
        for number, trainer in enumerate(self.trainers):
            trainer.move(*(tensor[number] for tensor in rows))
        self.gradient = rows[1]
        self.parameters, self.gradients_of = self._views(rows[0]), self._views(rows[1])
        self.leaves = [name for name in self.parameters if name != HEAD]
        for name in self.leaves:
            self.parameters[name].requires_grad_()
        hidden = partial(
            stacked_hidden, self.parameters, first.model.get_buffer("table"), first.spec.model, self.batched
        )
        self.hidden = torch.compile(hidden) if self.device.type == "cuda" else hidden
        self.graphs: StepGraphs | None = None
        self._until_graphs = WARM

    def _views(self, rows: Tensor) -> dict[str, Tensor]:
        """Name -> its part of every proxy's row, shape (K, ...)."""
        found: dict[str, Tensor] = {}
        start = 0
        for name, parameter in self.trainers[0].model.named_parameters():
            part = slice(start, start + parameter.numel())
            found[name] = rows[:, part].view(len(self.trainers), *parameter.shape)
            start = part.stop
        return found

    @property
    def windows_per_pass(self) -> int:
        """Windows of a proxy that go through the model at once.

        On a CPU as many as it takes alone. On CUDA the proxies share what a pass may keep.
        """
        per_pass = self.model.tokens_per_pass(self.device.type) // self.model.context
        return max(1, per_pass // (len(self.trainers) if self.device.type == "cuda" else 1))

    def step(self, rows: Sequence[NDArray[np.int64]]) -> None:
        """One step of each training: gradients of all its windows, clipped, then AdamW.

        Args:
            rows: each training's `TrainingLoop.next_rows`.
        """
        parts, rates = self.passes(rows), [trainer.learning_rate for trainer in self.trainers]
        if self._until_graphs == 0:
            self.graphs = graphs_of(self, parts)
        self._until_graphs -= 1
        losses, norms = self.taken_step(parts, rates) if self.graphs is None else self.graphs.step(parts, rates)
        for trainer, loss, norm in zip(self.trainers, losses, norms, strict=True):
            trainer.took(loss, norm)
        if self.device.type == "cuda":  # else one of them would be charged the time of all
            torch.cuda.synchronize(self.device)

    def passes(self, rows: Sequence[NDArray[np.int64]]) -> Sequence[Tensor]:
        """A step's windows on the device, those of a pass together: shape (K, B, T + 1) each."""
        windows = torch.from_numpy(np.stack(rows)).to(self.device)
        parts = windows.chunk(-(-windows.shape[1] // self.windows_per_pass), dim=1)
        return [part.contiguous() for part in parts]  # as a graph's buffer is: nothing is compiled twice

    def taken_step(self, parts: Sequence[Tensor], rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Take a step kernel by kernel.

        Args:
            parts: the windows of each pass.
            rates: each training's learning rate.

        Returns:
            Losses and norms of the gradients, both of shape (K,).
        """
        self.gradient.zero_()
        losses = self.gradients(parts)
        norms = [trainer.optimiser.step(rate) for trainer, rate in zip(self.trainers, rates, strict=True)]
        return losses, torch.stack(norms)

    def gradients(self, parts: Sequence[Tensor]) -> Tensor:
        """Add the gradients of the passes of a step; returns the losses, shape (K,)."""
        scale = self.scale(parts)
        total = torch.zeros(len(self.trainers), device=self.device)
        for part in parts:
            total += self.add_gradients(part, scale)
        return total

    def scale(self, parts: Sequence[Tensor]) -> float:
        """What a token's loss counts for in a step of these passes."""
        return 1.0 / (sum(part.shape[1] for part in parts) * self.model.context)

    def add_gradients(self, part: Tensor, scale: float) -> Tensor:
        """Add the gradients of a pass's windows; returns its part of the losses, shape (K,).

        On CUDA a graph records it: nothing in it may wait for the device, or depend on a value there.
        """
        heads = zip(self.parameters[HEAD], self.gradients_of[HEAD], strict=True)
        with autocast(self.device):
            hidden = self.hidden(part[:, :, :-1]).unbind(0)
            labels = part[:, :, 1:].reshape(len(hidden), -1)
            losses = torch.stack(
                [
                    linear_cross_entropy(each, head, own, scale=scale, gradient=of_head)
                    for each, own, (head, of_head) in zip(hidden, labels, heads, strict=True)
                ]
            )
        found = torch.autograd.grad(losses.sum(), [self.parameters[name] for name in self.leaves])
        for name, gradient in zip(self.leaves, found, strict=True):
            self.gradients_of[name].add_(gradient)
        return losses.detach()
