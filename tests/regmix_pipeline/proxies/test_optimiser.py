# ruff: noqa: TID253
"""AdamW over one flat tensor does what PyTorch's AdamW does over many."""

from __future__ import annotations

import torch

from regmix_pipeline.proxies.model import Decoder, initialise
from regmix_pipeline.proxies.optimiser import FlatAdamW
from regmix_pipeline.proxies.training_loop import flattened
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings


def test_steps_equal_pytorchs_adamw_with_clipping() -> None:
    settings = TrainingSettings(weight_decay=0.3, clip=0.7)
    models = [Decoder(ModelSettings(context=8, layers=1, width=16, heads=2, ffn_width=16), 40) for _ in range(2)]
    for model in models:
        initialise(model, 1)
    ours, theirs = models
    flat = FlatAdamW(*flattened(ours), settings)
    plain = torch.optim.AdamW(theirs.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3)
    generator = torch.Generator().manual_seed(0)
    for rate in (1e-2, 5e-3, 0.0, 1e-3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = torch.randn(other.shape, generator=generator)
            assert mine.grad is not None
            mine.grad.copy_(other.grad)
        plain.param_groups[0]["lr"] = rate
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
        plain.step()
        torch.testing.assert_close(flat.step(rate), expected)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
