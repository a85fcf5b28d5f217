# ruff: noqa: TID253  (imported only by the training and evaluation code, which is itself imported lazily)
"""Causal attention with rotary positions: PyTorch's kernel, and on a CPU a faster one for long windows.

PyTorch's `scaled_dot_product_attention` is as fast as it gets on CUDA and for short windows; on a CPU its backward
computes the scores again in small pieces and takes nearly twice as long as the products it is made of. There
`_Attention` keeps the probabilities of each causal block of queries, and is matrix products and little else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64
_LONGEST = 2048
"""Beyond it the probabilities, context^2 / 2 a head and window, would take too much memory."""


def rotary_table(context: int, head_width: int, theta: float) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864): cosine and sine of position / theta^(2i/h), (context, h/2, 2)."""
    frequencies = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).float()


def rotated(x: Tensor, table: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last axis of ``x``, shape (B, T, heads, h), by its position's angles."""
    # One complex product; torch.compile knows no complex numbers, and there are none of bfloat16.
    if _by_hand(x, table):
        return torch.view_as_real(_pairs(x) * _turns(table, x.shape[2])).flatten(-2)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = table.unsqueeze(1).to(x.dtype).unbind(-1)
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1).flatten(-2)


def attention(query_key_value: Tensor, table: Tensor) -> Tensor:
    """Causal attention among the positions of each window, queries and keys rotated first.

    Args:
        query_key_value: shape (B, T, 3 heads, h): the heads' queries, then their keys, then their values.
        table: from `rotary_table`, shape (T, h/2, 2).

    Returns:
        Shape (B, T, heads, h).
    """
    length, heads = query_key_value.shape[1], query_key_value.shape[2] // 3
    if _by_hand(query_key_value, table) and 2 * _BLOCK < length <= _LONGEST and query_key_value.requires_grad:
        return _Attention.apply(query_key_value, table)  # pyright: ignore[reportReturnType]
    query_key, value = query_key_value.split((2 * heads, heads), dim=2)
    query, key = rotated(query_key, table).split(heads, dim=2)
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_key_value: Tensor, table: Tensor) -> Tensor:
        batch, length, thrice, width = query_key_value.shape
        heads = thrice // 3
        scale = 1 / math.sqrt(width)
        query_key = rotated(query_key_value[:, :, : 2 * heads], table)
        query_key[:, :, :heads].mul_(scale)
        out = query_key_value.new_empty(batch, length, heads, width)
        future = query_key_value.new_full((_BLOCK, _BLOCK), -math.inf).triu_(1)
        kept = []
        for window in range(batch):
            query, key = query_key[window].transpose(0, 1).split(heads)
            value, mixed = query_key_value[window, :, 2 * heads :].transpose(0, 1), out[window].transpose(0, 1)
            for start in range(0, length, _BLOCK):
                end = min(length, start + _BLOCK)
                scores = torch.bmm(query[:, start:end], key[:, :end].transpose(1, 2))
                scores[:, :, start:].add_(future[: end - start, : end - start])
                kept.append(torch.softmax(scores, -1))
                mixed[:, start:end] = torch.bmm(kept[-1], value[:, :end])
        ctx.save_for_backward(query_key_value, query_key, table, out, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        query_key_value, query_key, table, out, *kept = ctx.saved_tensors
        batch, length, thrice, width = query_key_value.shape
        heads = thrice // 3
        gradient = torch.zeros_like(query_key_value)
        along = (outputs[0] * out).sum(-1, keepdim=True).transpose(1, 2)
        blocks = iter(kept)
        for window in range(batch):
            query, key = query_key[window].transpose(0, 1).split(heads)
            value = query_key_value[window, :, 2 * heads :].transpose(0, 1)
            of_query, of_key, of_value = gradient[window].transpose(0, 1).split(heads)
            of_out = outputs[0][window].transpose(0, 1)
            for start in range(0, length, _BLOCK):
                end = min(length, start + _BLOCK)
                part, before, probabilities = slice(start, end), slice(0, end), next(blocks)
                of_value[:, before].baddbmm_(probabilities.transpose(1, 2), of_out[:, part])
                of_scores = torch.bmm(of_out[:, part], value[:, before].transpose(1, 2))
                of_scores.sub_(along[window, :, part]).mul_(probabilities)
                of_query[:, part] = torch.bmm(of_scores, key[:, before])
                of_key[:, before].baddbmm_(of_scores.transpose(1, 2), query[:, part])
        gradient[:, :, :heads].mul_(1 / math.sqrt(width))
        _pairs(gradient[:, :, : 2 * heads]).mul_(_turns(table, 2 * heads).conj())
        return gradient, None


def _by_hand(x: Tensor, table: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == table.dtype and x.dtype != torch.bfloat16


def _turns(table: Tensor, heads: int) -> Tensor:
    """The table once for each head: with nothing to broadcast, the product runs over whole rows at twice the speed."""
    return torch.view_as_complex(table).unsqueeze(1).repeat(1, heads, 1)


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
