# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""A model in training: weights, optimiser and windows, and one step after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.device import autocast
from regmix_pipeline.proxies.evaluate import AnySample, Loss, losses_on
from regmix_pipeline.proxies.loss import linear_cross_entropy
from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.proxies.optimiser import FlatAdamW
from regmix_pipeline.proxies.snapshot import Snapshot
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.starts import load_optimiser, load_weights
from regmix_pipeline.proxies.windows import TrainingWindows, drawn_before

NOT_FINITE = "lower training.learning_rate, or look at the shards' text"
"""Remedy for a loss that is not finite."""


class TrainingLoop:
    """A proxy in training: weights, optimiser and windows; `step` is all there is to the loop.

    All parameters are views of one flat tensor, and so are their gradients: clipping and AdamW are one kernel each.

    Args:
        spec: the proxy.
        device: where it is trained.
        windows: what it sees; default what its mixture asks for.
    """

    def __init__(self, spec: ProxySpec, device: torch.device, windows: TrainingWindows | None = None) -> None:
        self.spec, self.device = spec, device
        training, context = spec.training, spec.model.context
        self.steps = training.steps(context)
        self.windows = windows or TrainingWindows(
            spec.exact_mixture,
            spec.shards,
            context,
            self.steps * training.windows_per_step,
            spec.seed,
            spec.available_windows,
            training.draws,
            drawn_before(spec),
            dict(spec.phases_together),
        )
        per_pass = max(1, spec.model.tokens_per_pass(device.type) // context)
        self.passes = math.ceil(training.windows_per_step / per_pass)
        self.last = min(spec.stop_at or self.steps, self.steps)
        self.losses, self.norms = (torch.full((self.last,), math.nan, device=device) for _ in range(2))
        self.taken = 0
        self._begin()

    def _begin(self) -> None:
        """Make the model and its optimiser, as they are before the first step."""
        spec = self.spec
        self.model = Decoder(spec.model, spec.vocabulary)
        if spec.start is None:
            initialise(self.model, spec.seed)
        else:
            load_weights(spec.start, self.model)
        self.model.to(self.device)
        self.flat, self.gradient = flattened(self.model)
        self.optimiser = FlatAdamW(self.flat, self.gradient, spec.training)
        if spec.start is not None:
            load_optimiser(spec.start, self.optimiser)
        self.forward = torch.compile(self.model) if self.device.type == "cuda" else self.model

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that steps change: parameters, AdamW's averages, training losses and norms of gradients."""
        return {"parameters": self.flat, **self.averages(), "losses": self.losses, "norms": self.norms}

    def averages(self) -> dict[str, Tensor]:
        """AdamW's averages, each of shape (parameters,)."""
        return {"mean": self.optimiser.mean, "square": self.optimiser.square}

    def weights(self) -> dict[str, Tensor]:
        """Name -> parameter, on the CPU."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    def measured(self, samples: Sequence[AnySample]) -> dict[str, Loss]:
        """As `evaluate.losses_on` of the model as it is now."""
        return losses_on(self.model, samples)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Become the training that the snapshot was taken of."""
        for name, tensor in self.tensors.items():
            if name in snapshot.tensors:  # those of earlier versions have no norms
                tensor.copy_(snapshot.tensors[name])
        self.optimiser.taken.fill_(self.spec.steps_before + snapshot.taken)
        self.taken = snapshot.taken

    @torch.no_grad()
    def move(self, flat: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        """Keep parameters, their gradient and AdamW's averages in these tensors from now on, shape (parameters,)."""
        optimiser = self.optimiser
        held = (self.flat, self.gradient, optimiser.mean, optimiser.square)
        for new, old in zip((flat, gradient, mean, square), held, strict=True):
            new.copy_(old)
        become_views(self.model, flat, gradient)
        self.flat, self.gradient = optimiser.parameter, optimiser.gradient = flat, gradient
        optimiser.mean, optimiser.square = mean, square

    def step(self) -> None:
        """One optimiser step: gradients of all its windows, clipped, then AdamW."""
        self.gradient.zero_()
        self.update(self._gradients(self.next_rows()))

    def next_rows(self) -> NDArray[np.int64]:
        """The next step's windows, shape (windows per step, context + 1).

        Raises:
            ProxyError: a token is outside the vocabulary.
        """
        windows = self.spec.training.windows_per_step
        rows = self.windows.read(self.taken * windows, windows)
        if int(rows.max()) >= self.spec.vocabulary:
            raise ProxyError(
                f"a token is outside the vocabulary of {self.spec.vocabulary}",
                where=f"{self.spec.id} step {self.taken + 1}",
                remedy="make the shards again with the study's tokenizer",
            )
        return rows

    def update(self, loss: Tensor) -> None:
        """Take the step that the gradient asks for, now that it is whole; ``loss`` is the step's, a scalar."""
        self.took(loss, self.optimiser.step(self.learning_rate))

    def took(self, loss: Tensor, norm: Tensor) -> None:
        """Write down a step: its loss and its gradient's norm, scalars."""
        self.losses[self.taken] = loss
        self.norms[self.taken] = norm
        self.taken += 1

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate_at(self.taken)

    def _learning_rate_at(self, step: int) -> float:
        """Learning rate of a step from 0, in one schedule over all phases."""
        spec = self.spec
        return spec.training.learning_rate_at(
            spec.steps_before + step, spec.steps_before + self.steps + spec.steps_after
        )

    def _gradients(self, rows: NDArray[np.int64]) -> Tensor:
        scale = 1.0 / (rows.shape[0] * self.spec.model.context)
        total = torch.zeros((), device=self.device)
        first = 0
        for part in torch.from_numpy(rows).to(self.device).chunk(self.passes):
            with autocast(self.device):
                loss = self._loss(self.forward(part[:, :-1]), part[:, 1:].reshape(-1), scale, first)
            loss.backward()
            total += loss.detach()
            first += len(part)
        return total

    def _loss(self, hidden: Tensor, labels: Tensor, scale: float, first: int) -> Tensor:
        """``scale`` times the sum of the losses of a pass, whose windows are those from ``first`` on of the step."""
        head = self.model.head
        return linear_cross_entropy(hidden, head, labels, scale=scale, gradient=head.grad)

    def rows(self, first: int = 0) -> list[dict[str, Any]]:
        """The steps taken, but for the ``first`` ones, as rows of the trajectory."""
        training = self.spec.training
        tokens = training.windows_per_step * self.spec.model.context
        losses, norms = (tensor[first : self.taken].tolist() for tensor in (self.losses, self.norms))
        return [
            {
                "step": step + 1,
                "tokens": (step + 1) * tokens,
                "training_loss": loss,
                "gradient_norm": norm,
                "learning_rate": self._learning_rate_at(step),
            }
            for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=first)
        ]

    def check(self) -> None:
        """Look at the losses so far.

        Raises:
            ProxyError: one is not finite; names the proxy and the first such step.
        """
        finite = torch.isfinite(self.losses[: self.taken])
        if not bool(finite.all()):
            first = int((~finite).nonzero()[0]) + 1
            raise ProxyError(
                f"the training loss is {float(self.losses[first - 1])}",
                where=f"proxy {self.spec.id} step {first}",
                remedy=NOT_FINITE,
            )


def flattened(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Move all parameters into one flat one, of which they become views; the same for their gradients, set to zero.

    Returns:
        The flat parameters and their flat gradient, both of shape (parameters,).
    """
    parameters = list(model.parameters())
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(flat)
    become_views(model, flat, gradient)
    return flat, gradient


def become_views(model: nn.Module, flat: Tensor, gradient: Tensor) -> None:
    """Let all parameters be views of ``flat``, and their gradients of ``gradient``, both of shape (parameters,)."""
    start = 0
    for parameter in model.parameters():
        end = start + parameter.numel()
        shape = parameter.shape
        parameter.data = flat[start:end].view(shape)
        parameter.grad = gradient[start:end].view(shape)
        start = end
