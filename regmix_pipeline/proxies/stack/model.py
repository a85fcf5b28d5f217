# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""The decoders of K proxies as one: what `model.Decoder` computes, with an axis of proxies before all others.

On a CPU every proxy's products, and the sums over its rows, are the very calls that it would make alone, one proxy
after the other, so that its bits do not depend on its neighbours; what has no sums across rows is one call for all. On
CUDA products are batched, because one proxy's alone would leave the device idle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from regmix_pipeline.proxies.attention import attention
from regmix_pipeline.proxies.model import swiglu
from regmix_pipeline.study.settings.proxies import ModelSettings

Parameters = Mapping[str, Tensor]
"""Name, as in `model.Decoder`, -> the parameter of all proxies, shape (K, ...)."""


def stacked_hidden(
    parameters: Parameters, table: Tensor, settings: ModelSettings, batched: bool, tokens: Tensor
) -> Tensor:
    """Tokens to the hidden states that the heads read; see `model.Decoder.forward`.

    Args:
        parameters: of all proxies.
        table: of rotary positions, (T, h/2, 2).
        settings: the shape that they have in common.
        batched: whether products are batched, as on CUDA.
        tokens: of each proxy's windows, (K, B, T).

    Returns:
        Shape (K, B T, width).
    """
    proxies, windows, length = tokens.shape
    embed, linear, norm = (_embed, _linear, _norm) if batched else (_Embedding.apply, _Linear.apply, _RMSNorm.apply)
    eps = settings.norm_eps
    x: Any = embed(parameters["embedding.weight"], tokens.reshape(proxies, -1))
    for layer in range(settings.layers):
        own = {name: parameters[f"blocks.{layer}.{name}"] for name in _NAMES}
        heads = linear(norm(x, own["attention_norm.weight"], eps), own["query_key_value.weight"])
        heads = heads.view(proxies * windows, length, 3 * settings.heads, -1)
        mixed = attention(heads, table[:length]).reshape(x.shape)
        x = x + linear(mixed, own["attention_out.weight"])
        inner = swiglu(linear(norm(x, own["ffn_norm.weight"], eps), own["gate_up.weight"]))
        x = x + linear(inner, own["down.weight"])
    return norm(x, parameters["norm.weight"], eps)


_NAMES = tuple(
    f"{name}.weight" for name in ("attention_norm", "query_key_value", "attention_out", "ffn_norm", "gate_up", "down")
)


def _embed(weight: Tensor, tokens: Tensor) -> Tensor:
    return weight[torch.arange(len(weight), device=weight.device).unsqueeze(1), tokens]


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x, weight.mT)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], None, eps) * weight.unsqueeze(1)


def _each(shape: tuple[int, ...], like: Tensor, write: Callable[[int, Tensor], object]) -> Tensor:
    """A tensor of one part a proxy, each written by ``write(proxy, part)``."""
    made = like.new_empty(shape)
    for proxy, part in enumerate(made.unbind(0)):
        write(proxy, part)
    return made


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.rows = weight.shape[1]
        rows = weight.unbind(0)
        shape = (*tokens.shape, weight.shape[2])
        return _each(shape, weight, lambda k, out: torch.index_select(rows[k], 0, tokens[k], out=out))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,), (tokens,) = outputs, ctx.saved_tensors
        of_weight = gradient.new_empty(len(tokens), ctx.rows, gradient.shape[2])
        for own, each, into in zip(tokens, gradient, of_weight, strict=True):
            into.copy_(torch.ops.aten.embedding_dense_backward(each, own, ctx.rows, -1, False))
        return of_weight, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        shape = (*x.shape[:2], weight.shape[1])
        return _each(shape, x, lambda k, out: torch.mm(x[k], weight[k].t(), out=out))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (x, weight) = outputs, ctx.saved_tensors
        of_x = _each(tuple(x.shape), x, lambda k, out: torch.mm(gradient[k], weight[k], out=out))
        of_weight = _each(tuple(weight.shape), x, lambda k, out: torch.mm(gradient[k].t(), x[k], out=out))
        return of_x, of_weight


class _RMSNorm(torch.autograd.Function):
    """As `model.RMSNorm` on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().mul_(1 / x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight.unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,), (normal, inverse, weight) = outputs, ctx.saved_tensors
        product = gradient * normal
        along = _each(tuple(normal.shape[:2]), normal, lambda k, out: torch.mv(product[k], weight[k], out=out))
        along = along.mul_(1 / normal.shape[-1]).unsqueeze(-1)
        of_x = (gradient * weight.unsqueeze(1)).addcmul_(normal, along, value=-1).mul_(inverse)
        return of_x, _each(tuple(weight.shape), normal, lambda k, out: torch.sum(product[k], 0, out=out)), None
