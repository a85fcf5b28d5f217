# ruff: noqa: TID253  (imported only by the training and evaluation code, which is itself imported lazily)
"""The proxy: a Llama-like decoder as RegMix's (arXiv 2407.01492), written to be read.

RMSNorm before attention and feed-forward, rotary positions, causal attention, SwiGLU, untied head, no biases. Query,
key and value are one matrix, gate and up another. Initialisation as in RegMix's `lit_gpt/model.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regmix_pipeline.files import fingerprint
from regmix_pipeline.proxies.attention import attention, rotary_table
from regmix_pipeline.study.settings.proxies import ModelSettings


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


class _SwiGLUFunction(torch.autograd.Function):
    """silu(gate) up, its gradients written side by side, where plain autograd writes each apart and copies both."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        active = functional.silu(gate)
        ctx.save_for_backward(gate_up, active)
        return active * up

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Tensor:
        (output,) = outputs
        gate_up, active = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        gradient = torch.empty_like(gate_up)
        of_gate, of_up = gradient.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(output * up, gate, grad_input=of_gate)
        torch.mul(output, active, out=of_up)
        return gradient


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) up (Shazeer, arXiv 2002.05202) of rows gate, up: shape (N, 2 f) to (N, f)."""
    if gate_up.device.type == "cpu":
        return _SwiGLUFunction.apply(gate_up)  # pyright: ignore[reportReturnType]
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate) * up


class TransformerBlock(nn.Module):
    """A decoder block: x + attention(norm(x)), then x + swiglu(norm(x))."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, inner = settings.width, settings.ffn_width
        self.heads = settings.heads
        self.attention_norm = RMSNorm(width, settings.norm_eps)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.ffn_norm = RMSNorm(width, settings.norm_eps)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, table: Tensor, batch: int) -> Tensor:
        """Rows of shape (batch * T, width) to the same shape."""
        x = x + self.attention_out(self._attention(self.attention_norm(x), table, batch))
        return x + self.down(swiglu(self.gate_up(self.ffn_norm(x))))

    def _attention(self, x: Tensor, table: Tensor, batch: int) -> Tensor:
        rows, width = x.shape
        heads = self.query_key_value(x).view(batch, rows // batch, 3 * self.heads, -1)
        return attention(heads, table).reshape(rows, width)


class Decoder(nn.Module):
    """Tokens to the hidden states the head reads; the head itself is applied by `loss`, chunk by chunk."""

    def __init__(self, settings: ModelSettings, vocabulary: int) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.blocks = nn.ModuleList(TransformerBlock(settings) for _ in range(settings.layers))
        self.norm = RMSNorm(settings.width, settings.norm_eps)
        self.head = nn.Parameter(torch.empty(vocabulary, settings.width))
        table = rotary_table(settings.context, settings.width // settings.heads, settings.rope_theta)
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids of shape (B, T), T <= context, to normalised hidden states of shape (B T, width)."""
        batch, _ = tokens.shape
        return self.decoded(self.embedding(tokens.reshape(-1)), batch)

    def decoded(self, x: Tensor, batch: int) -> Tensor:
        """Embedded tokens of ``batch`` windows, shape (batch * T, width), to normalised hidden states of that shape."""
        table = self.get_buffer("table")[: len(x) // batch]
        for block in self.blocks:
            x = block(x, table, batch)
        return self.norm(x)


@torch.no_grad()
def initialise(model: Decoder, seed: int) -> None:
    """Set all weights to their `initial_values`."""
    for name, values in initial_values(model, seed):
        model.get_parameter(name).copy_(values)


def initial_values(model: Decoder, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Name and first values of every parameter as in RegMix's code, a function of ``seed`` and the shapes alone.

    Embedding and matrices: normal, variance 2 / (5 d) with d the inputs (the embedding's d: its width); the SwiGLU's
    last matrix: standard deviation 1 / (sqrt(inputs) layers), which is GPT-NeoX's (arXiv 2204.06745); norms: 1.
    """
    generator = torch.Generator().manual_seed(int(fingerprint("weights", seed)[:15], 16))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            yield name, torch.ones(parameter.shape)
            continue
        inputs = parameter.shape[1]
        last = name.endswith("down.weight")
        deviation = 1 / (math.sqrt(inputs) * model.settings.layers) if last else math.sqrt(2 / (5 * inputs))
        yield name, torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator)
