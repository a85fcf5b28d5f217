# ruff: noqa: TID253  (imported only by the training code, which is itself imported lazily)
"""AdamW over one flat parameter: one fused kernel a step, and a state that is two tensors and a number.

Calls PyTorch's fused kernel itself: `torch.optim` would import its compiler first, a second per process, and spend
half a millisecond of Python a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regmix_pipeline.study.settings.proxies import TrainingSettings


class FlatAdamW:
    """AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) and clipping of the gradient's norm.

    Attributes:
        parameter: all parameters, shape (P,); updated in place.
        gradient: their gradient, shape (P,); clipped in place.
        mean: running mean of the gradient, shape (P,).
        square: running mean of its square, shape (P,).
        taken: steps taken, a float32 scalar tensor as the kernel wants it.
    """

    def __init__(self, parameter: Tensor, gradient: Tensor, settings: TrainingSettings) -> None:
        self.parameter, self.gradient, self.settings = parameter, gradient, settings
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self.taken = torch.zeros((), device=parameter.device)

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> Tensor:
        """Clip, then update; returns the gradient's norm before clipping, a scalar tensor."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_(clipping(norm, self.settings))
        update([self.parameter], [self.gradient], [self.mean], [self.square], self.taken, learning_rate, self.settings)
        return norm


def clipping(norm: Tensor, settings: TrainingSettings) -> Tensor:
    """What a gradient of this norm is multiplied by, a scalar tensor."""
    return (settings.clip / (norm + 1e-6)).clamp_(max=1.0)


def update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    taken: Tensor,
    learning_rate: float | Tensor,
    settings: TrainingSettings,
) -> None:
    """AdamW's update in place, tensors of one parameter in one place of each list; ``taken`` becomes one more."""
    taken += 1
    torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
        list(parameters),
        list(gradients),
        list(means),
        list(squares),
        [],
        [taken] * len(parameters),
        lr=learning_rate,
        beta1=settings.beta1,
        beta2=settings.beta2,
        weight_decay=settings.weight_decay,
        eps=settings.adam_eps,
        amsgrad=False,
        maximize=False,
    )
