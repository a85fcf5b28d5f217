"""What is measured on a target: a number a window, from the losses of the window's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regmix_pipeline.registry import Registry

if TYPE_CHECKING:
    import torch

TARGET_KINDS = Registry(
    "target kind",
    __name__,
    {
        "text": "target_kinds:mean_loss",
    },
)
"""Name -> function of token losses, (windows, context) in nats, that gives a number a window, (windows,)."""


def mean_loss(token_losses: torch.Tensor) -> torch.Tensor:
    """The mean over all tokens of a window, nats per token."""
    return token_losses.mean(1)
