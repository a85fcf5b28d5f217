# ruff: noqa: TID253  (imported only by the training and evaluation code, which is itself imported lazily)
"""The proxy: a Llama-like decoder as RegMix's (arXiv 2407.01492), written to be read.

RMSNorm before attention and feed-forward, rotary positions, causal attention, SwiGLU, untied head, no biases. Query,
key and value are one matrix, gate and up another. Initialisation as in RegMix's `lit_gpt/model.py`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regmix_pipeline.files import fingerprint
from regmix_pipeline.proxies.settings import ModelSettings


class _RMSNormFunction(torch.autograd.Function):
    """y = n w with n = x / sqrt(mean(x^2) + eps). PyTorch has one kernel for it on CUDA but five on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().mul_(1 / x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = outputs
        normal, inverse, weight = ctx.saved_tensors
        product = gradient * normal
        along = torch.mv(product, weight).mul_(1 / normal.shape[-1]).unsqueeze(-1)
        return (gradient * weight).addcmul_(normal, along, value=-1).mul_(inverse), product.sum(0), None


class RMSNorm(nn.Module):
    """Root mean square layer normalisation (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows of shape (N, width)."""
        if x.device.type == "cpu":
            return _RMSNormFunction.apply(x, self.weight, self.eps)  # pyright: ignore[reportReturnType]
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary_table(context: int, head_width: int, theta: float) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864): cosine and sine of position / theta^(2i/h), (context, h/2, 2)."""
    frequencies = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).float()


def rotated(x: Tensor, table: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last axis of ``x``, shape (B, T, heads, h), by its position's angles."""
    if x.device.type == "cpu":  # one complex product; torch.compile knows no complex numbers
        turns = torch.view_as_complex(table).unsqueeze(1)
        return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(-2)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = table.unsqueeze(1).to(x.dtype).unbind(-1)
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1).flatten(-2)


class Block(nn.Module):
    """A decoder block: x + attention(norm(x)), then x + swiglu(norm(x))."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, inner = settings.width, settings.ffn_width
        self.heads, self.inner = settings.heads, inner
        self.attention_norm = RMSNorm(width, settings.norm_eps)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.ffn_norm = RMSNorm(width, settings.norm_eps)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, table: Tensor, batch: int) -> Tensor:
        """Rows of shape (batch * T, width) to the same shape."""
        x = x + self.attention_out(self._attention(self.attention_norm(x), table, batch))
        gate, up = self.gate_up(self.ffn_norm(x)).split(self.inner, dim=-1)
        return x + self.down(functional.silu(gate) * up)

    def _attention(self, x: Tensor, table: Tensor, batch: int) -> Tensor:
        rows, width = x.shape
        heads, length = self.heads, rows // batch
        query_key, value = self.query_key_value(x).view(batch, length, 3 * heads, -1).split((2 * heads, heads), dim=2)
        query, key = rotated(query_key, table).split(heads, dim=2)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2).reshape(rows, width)


class Decoder(nn.Module):
    """Tokens to the hidden states the head reads; the head itself is applied by `loss`, chunk by chunk."""

    def __init__(self, settings: ModelSettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = RMSNorm(settings.width, settings.norm_eps)
        self.head = nn.Parameter(torch.empty(settings.width, vocabulary))
        table = rotary_table(settings.context, settings.width // settings.heads, settings.rope_theta)
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids of shape (B, T), T <= context, to normalised hidden states of shape (B T, width)."""
        batch, length = tokens.shape
        x = self.embedding(tokens.reshape(-1))
        table = self.get_buffer("table")[:length]
        for block in self.blocks:
            x = block(x, table, batch)
        return self.norm(x)


@torch.no_grad()
def initialise(model: Decoder, seed: int) -> None:
    """Set all weights as RegMix's code does, a function of ``seed`` and the shapes alone.

    Embedding and matrices: normal, variance 2 / (5 d) with d the inputs (the embedding's d: its width); the SwiGLU's
    last matrix: standard deviation 1 / (sqrt(inputs) layers), which is GPT-NeoX's (arXiv 2204.06745); norms: 1.
    """
    generator = torch.Generator().manual_seed(int(fingerprint("weights", seed)[:15], 16))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0)
            continue
        inputs = parameter.shape[0] if name == "head" else parameter.shape[1]
        last = name.endswith("down.weight")
        deviation = 1 / (math.sqrt(inputs) * model.settings.layers) if last else math.sqrt(2 / (5 * inputs))
        values = torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator)
        parameter.copy_(values)
