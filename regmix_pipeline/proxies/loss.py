# ruff: noqa: TID253  (imported only by the training and evaluation code, which is itself imported lazily)
"""Cross-entropy of a linear head, fused: chunks of rows, each chunk's logits used up before the next are made.

With V tokens of vocabulary and N rows, plain code writes N x V logits several times to memory; here a chunk stays in
cache from the product that makes it to the products that use it. The gradients are computed in the forward pass, as in
Liger Kernel (Hsu et al., arXiv 2410.10989), so nothing is kept for the backward.

For logits l = x W, target t, e_j = exp(l_j) and s = sum_j e_j, the loss is log s - l_t. With e_t lowered by s,
dx = (e W^T) / s and dW = (x / s)^T e: the 1/s goes to the small factors, so a chunk of logits is touched only twice
(exp, sum) outside the matrix products. W is kept as (d, V), which lets its gradient accumulate in place at full speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_BYTES = {"cpu": 2 * 2**20, "cuda": 2**30}
_CHUNK_ROWS = {"cpu": (64, 256), "cuda": (256, 65536)}
_SAFE_LOG = 60.0


def chunk_rows(vocabulary: int, device: torch.device) -> int:
    """Rows per chunk: logits of about 2 MiB on a CPU, to stay in its cache, at least 64 rows for the products' sake."""
    kind = device.type if device.type in _CHUNK_BYTES else "cuda"
    low, high = _CHUNK_ROWS[kind]
    return min(high, max(low, _CHUNK_BYTES[kind] // (4 * vocabulary)))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, scale: float, gradient: Tensor | None, rows: int
    ) -> Tensor:
        losses = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        narrow = head.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden)
        total = torch.zeros_like(head) if gradient is None else gradient
        buffer = _buffer(hidden, head, rows)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            losses[part], exponentials, sums = _chunk(hidden[part], narrow, targets[part], buffer)
            exponentials.scatter_add_(1, targets[part].unsqueeze(1), -sums.unsqueeze(1))
            exponentials = exponentials.to(hidden.dtype)
            share = (scale / sums).unsqueeze(1)
            torch.mm(exponentials, narrow.t(), out=hidden_gradient[part]).mul_(share)
            left = (hidden[part] * share).to(hidden.dtype).t()
            if left.dtype == total.dtype:
                total.addmm_(left, exponentials)
            else:
                total.add_(torch.mm(left, exponentials))
        ctx.save_for_backward(hidden_gradient, *(() if gradient is not None else (total,)))
        return losses.sum().mul_(scale)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (output,) = outputs
        hidden_gradient, *kept = ctx.saved_tensors
        head_gradient = kept[0] * output if kept else None
        return hidden_gradient * output.to(hidden_gradient.dtype), head_gradient, None, None, None, None


def linear_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    scale: float | None = None,
    gradient: Tensor | None = None,
    rows: int | None = None,
) -> Tensor:
    """Cross-entropy of ``hidden @ head`` against ``targets``, in nats, summed and multiplied by ``scale``.

    Args:
        hidden: shape (N, d).
        head: shape (d, V).
        targets: token ids, shape (N,).
        scale: factor of the sum; default 1 / N, the mean.
        gradient: if given, shape (d, V): the head's gradient is added into it at once, and autograd gets none for the
            head. Then the loss must itself be the root of the backward pass.
        rows: rows per chunk; default by size of the vocabulary and device.

    Returns:
        Scalar, float32 or wider.
    """
    scale = 1.0 / len(hidden) if scale is None else scale
    hidden = _narrowed(hidden)
    rows = rows or chunk_rows(head.shape[1], hidden.device)
    return _LinearCrossEntropy.apply(hidden, head, targets, scale, gradient, rows)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def token_losses(hidden: Tensor, head: Tensor, targets: Tensor, *, rows: int | None = None) -> Tensor:
    """Cross-entropy of each row, nats, shape (N,), without gradients; arguments as in `linear_cross_entropy`."""
    hidden = _narrowed(hidden)
    rows = rows or chunk_rows(head.shape[1], hidden.device)
    narrow = head.to(hidden.dtype)
    buffer = _buffer(hidden, head, rows)
    parts = [
        _chunk(hidden[start : start + rows], narrow, targets[start : start + rows], buffer)[0]
        for start in range(0, len(hidden), rows)
    ]
    return torch.cat(parts)


def _narrowed(hidden: Tensor) -> Tensor:
    """Under autocast the head's products are in its type too, though the last norm leaves float32."""
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


def _buffer(hidden: Tensor, head: Tensor, rows: int) -> Tensor | None:
    """Room for a chunk's logits, used again for every chunk: it stays in cache. None where logits must be widened."""
    if hidden.dtype not in (torch.float32, torch.float64):
        return None
    return hidden.new_empty(min(rows, len(hidden)), head.shape[1])


def _chunk(hidden: Tensor, head: Tensor, targets: Tensor, buffer: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, (r,); exponentials of the logits up to a factor per row, (r, V); and their sums, (r,)."""
    logits = _logits(hidden, head, buffer)
    own = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    if logits.device.type == "cpu":
        # Without subtracting the maximum, one pass less: right while sums and their products stay in range.
        exponentials = logits.exp_()
        sums = exponentials.sum(1)
        logs = sums.log()
        if float(logs.abs().max()) < _SAFE_LOG:
            return logs - own, exponentials, sums
        logits = _logits(hidden, head, buffer)
    highest = logits.amax(1)
    exponentials = logits.sub_(highest.unsqueeze(1)).exp_()
    sums = exponentials.sum(1)
    return sums.log().add_(highest) - own, exponentials, sums


def _logits(hidden: Tensor, head: Tensor, buffer: Tensor | None) -> Tensor:
    if buffer is None:
        return torch.mm(hidden, head).float()
    return torch.mm(hidden, head, out=buffer[: len(hidden)])
