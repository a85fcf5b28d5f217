# ruff: noqa: TID253
"""Rotary positions and causal attention, against plain code."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from regmix_pipeline.proxies import attention as module
from regmix_pipeline.proxies.attention import attention, rotary_table, rotated


def test_both_ways_to_rotate_are_one() -> None:
    x, table = torch.randn(2, 5, 3, 8), rotary_table(5, 8, 1e4)
    even, odd = x[..., ::2], x[..., 1::2]
    cosine, sine = table.unsqueeze(1).unbind(-1)
    pairs = torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)
    torch.testing.assert_close(rotated(x, table), pairs)


def plain(query_key_value: Tensor, table: Tensor) -> Tensor:
    """Softmax over all positions, those of the future masked."""
    heads = query_key_value.shape[2] // 3
    query, key, value = query_key_value.transpose(1, 2).split(heads, dim=1)
    query, key = (rotated(part.transpose(1, 2), table).transpose(1, 2) for part in (query, key))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    future = torch.ones(scores.shape[-2:]).triu(1).bool()
    return (scores.masked_fill(future, -math.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("length", [1, 64, 129, 192, 200])  # within a block, at its end, beyond
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_output_and_gradient_equal_plain_attention(length: int, dtype: torch.dtype, near: float) -> None:
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(2, length, 9, 8, generator=generator, dtype=dtype, requires_grad=True)
    table = rotary_table(length, 8, 1e4).to(dtype)
    ours, expected = attention(x, table), plain(x, table)
    torch.testing.assert_close(ours, expected, rtol=near, atol=near)
    seed = torch.randn(expected.shape, generator=generator, dtype=dtype)
    gradients = (torch.autograd.grad(value, x, seed)[0] for value in (ours, expected))
    torch.testing.assert_close(*gradients, rtol=10 * near, atol=10 * near)


def test_windows_of_any_length_go_the_one_way_or_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    x, table = torch.randn(2, 150, 6, 8, requires_grad=True), rotary_table(150, 8, 1e4)
    names = [type(attention(x, table).grad_fn).__name__]
    monkeypatch.setattr(module, "_LONGEST", 149)
    names.append(type(attention(x, table).grad_fn).__name__)
    assert names == ["_AttentionBackward", "TransposeBackward0"]


def test_huge_scores_stay_finite() -> None:
    x, table = (1e3 * torch.randn(1, 200, 3, 8)).requires_grad_(), rotary_table(200, 8, 1e4)
    out = attention(x, table)
    out.sum().backward()
    assert bool(out.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
