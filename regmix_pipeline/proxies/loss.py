# ruff: noqa: TID253  (imported only by the training and evaluation code, which is itself imported lazily)
"""Cross-entropy of a linear head, fused: the logits are used up where they are made, never all of them at once.

With V tokens of vocabulary and N rows, plain code writes N x V logits several times to memory. Here rows are taken in
chunks, and the gradients are computed in the forward pass, as in Liger Kernel (Hsu et al., arXiv 2410.10989), so
nothing is kept for the backward.

For logits l = x W^T, target t, e_j = exp(l_j) and s = sum_j e_j, the loss is log s - l_t, and with w_t the target's
row of W: dx = (e W) / s - w_t and dW = e^T (x / s), less x in row t. On a CPU a chunk's vocabulary is taken in tiles: a
tile of logits stays in cache from the product that makes it, through exp and sum, to the product with W; 1/s, known
after the last tile, goes to the small factors, and so does log2(e), because 2^x takes half as long as e^x. What is left
beside the three matrix products is one pass of 2^x and one of sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_ROWS, _COLUMNS = 512, 1024
_CHUNK_BYTES = 2**30
_CHUNK_ROWS = (256, 65536)
_SAFE_LOG2 = 80.0


def chunk_rows(vocabulary: int) -> int:
    """Rows of a chunk whose whole logits are made at once, as on CUDA: logits of about 1 GiB."""
    low, high = _CHUNK_ROWS
    return min(high, max(low, _CHUNK_BYTES // (4 * vocabulary)))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, *options: Any) -> Tensor:
        scale, gradient, rows, columns, each = options
        wide = torch.promote_types(head.dtype, torch.float32)
        total = torch.zeros_like(head, dtype=wide) if gradient is None else gradient
        ctx.kind = head.dtype
        if _in_tiles(hidden):
            losses, hidden_gradient = _tiled(hidden, head, targets, scale, total, rows or _ROWS, columns or _COLUMNS)
        else:
            rows = rows or chunk_rows(len(head))
            losses, hidden_gradient = _whole(hidden, head.to(hidden.dtype), targets, scale, total, rows)
        ctx.save_for_backward(hidden_gradient, *(() if gradient is not None else (total,)))
        if each is not None:
            each.copy_(losses)
        return (losses * scale).sum() if isinstance(scale, Tensor) else losses.sum().mul_(scale)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (output,) = outputs
        hidden_gradient, *kept = ctx.saved_tensors
        head_gradient = (kept[0] * output).to(ctx.kind) if kept else None
        return hidden_gradient * output.to(hidden_gradient.dtype), head_gradient, *[None] * 6


def linear_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    scale: float | Tensor | None = None,
    gradient: Tensor | None = None,
    rows: int | None = None,
    columns: int | None = None,
    each: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of ``hidden @ head.T`` against ``targets``, in nats, summed and multiplied by ``scale``.

    Args:
        hidden: shape (N, d).
        head: shape (V, d).
        targets: token ids, shape (N,).
        scale: factor of the sum, or of each row's loss, shape (N,) and of ``hidden``'s type or wider; default 1 / N,
            the mean.
        gradient: if given, shape (V, d): the head's gradient is added into it at once, and autograd gets none for the
            head. Then the loss must itself be the root of the backward pass.
        rows: rows per chunk; default by device.
        columns: tokens of the vocabulary per tile, on a CPU; default 1024.
        each: if given, shape (N,): every row's own loss is written into it, without the scale.

    Returns:
        Scalar, float32 or wider.
    """
    scale = 1.0 / len(hidden) if scale is None else scale
    options = (scale, gradient, rows, columns, each)
    return _LinearCrossEntropy.apply(_narrowed(hidden), head, targets, *options)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def token_losses(
    hidden: Tensor, head: Tensor, targets: Tensor, *, rows: int | None = None, columns: int | None = None
) -> Tensor:
    """Cross-entropy of each row, nats, shape (N,), without gradients; arguments as in `linear_cross_entropy`."""
    hidden = _narrowed(hidden)
    if _in_tiles(hidden):
        return _tiled(hidden, head, targets, 0.0, None, rows or _ROWS, columns or _COLUMNS)[0]
    return _whole(hidden, head.to(hidden.dtype), targets, 0.0, None, rows or chunk_rows(len(head)))[0]


def _narrowed(hidden: Tensor) -> Tensor:
    """Under autocast the head's products are in its type too, though the last norm leaves float32."""
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


def _in_tiles(hidden: Tensor) -> bool:
    """Tiles are for caches, and for types that hold sums of exponentials without their maximum taken off."""
    return hidden.device.type == "cpu" and hidden.dtype in (torch.float32, torch.float64)


def _chunks(number: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, number)) for start in range(0, number, rows))


def _of_rows(scale: float | Tensor, part: slice) -> float | Tensor:
    return scale[part] if isinstance(scale, Tensor) else scale


def _tiled(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    scale: float | Tensor,
    gradient: Tensor | None,
    rows: int,
    columns: int,
) -> tuple[Tensor, Tensor]:
    """Losses, shape (N,), and the gradient of ``scale`` times their sum by ``hidden``; the head's is added in place.

    Without ``gradient`` the second value is left unfilled.
    """
    losses, products = hidden.new_empty(len(hidden)), torch.empty_like(hidden)
    tiles = head.split(columns)
    kept = len(tiles) if gradient is not None else 1
    room = hidden.new_empty(kept, min(rows, len(hidden)) * columns)
    for part in _chunks(len(hidden), rows):
        x, of_targets = hidden[part], head.index_select(0, targets[part])
        product = x.new_empty(x.shape[1], len(x)) if gradient is not None else None
        buffers = [room[number % kept, : len(x) * len(tile)].view(-1, len(x)) for number, tile in enumerate(tiles)]
        logs, sums = _exponentials(x, tiles, buffers, product)
        losses[part] = logs - (x * of_targets).sum(1)
        if gradient is None or product is None:
            continue
        share = (_of_rows(scale, part) / sums).unsqueeze(1)
        # A number goes into the kernels as their alpha; a factor a row costs a product more.
        alpha, of_rows, inputs = 1.0 if isinstance(scale, Tensor) else scale, of_targets, x
        if isinstance(scale, Tensor):
            of_rows, inputs = (each * scale[part].unsqueeze(1) for each in (of_targets, x))
        torch.mul(product.t(), share, out=products[part]).sub_(of_rows, alpha=alpha)
        left = x * share
        for tile, exponentials in zip(gradient.split(columns), buffers, strict=True):
            tile.addmm_(exponentials, left)
        gradient.index_add_(0, targets[part], inputs, alpha=-alpha)
    return losses, products


def _exponentials(
    x: Tensor, tiles: tuple[Tensor, ...], buffers: list[Tensor], product: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Fill buffers with exponentials of the logits, up to a factor per row, and ``product`` with their product with W.

    Both are transposed, a row for a token of the vocabulary, the layout in which all three products are fast.

    Returns:
        log sum exp of the logits, shape (r,), and the sums of what is in the buffers, shape (r,).
    """
    scaled = (x * math.log2(math.e)).t()
    highest = None
    while True:
        sums = x.new_zeros(len(x))
        for number, (tile, exponentials) in enumerate(zip(tiles, buffers, strict=True)):
            torch.mm(tile, scaled, out=exponentials)
            if highest is not None:
                exponentials.sub_(highest)
            sums += exponentials.exp2_().sum(0)
            if product is not None and number:
                product.addmm_(tile.t(), exponentials)
            elif product is not None:
                torch.mm(tile.t(), exponentials, out=product)
        logs = sums.log2()
        if highest is not None:
            return logs.add_(highest).mul_(math.log(2)), sums
        # Without the maximum taken off, a pass less: right while sums and products with them stay in range.
        if float(logs.abs().max()) < _SAFE_LOG2:
            return logs.mul_(math.log(2)), sums
        highest = torch.stack([torch.mm(tile, scaled).amax(0) for tile in tiles]).amax(0)


def _whole(
    hidden: Tensor, head: Tensor, targets: Tensor, scale: float | Tensor, gradient: Tensor | None, rows: int
) -> tuple[Tensor, Tensor]:
    """As `_tiled`, but each chunk's logits whole, and float32 at least; ``head`` is of ``hidden``'s type."""
    losses = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
    products = torch.empty_like(hidden)
    for part in _chunks(len(hidden), rows):
        logits, own = torch.mm(hidden[part], head.t()).to(losses.dtype), targets[part].unsqueeze(1)
        highest = logits.amax(1)
        of_targets = logits.gather(1, own).squeeze(1)
        exponentials = logits.sub_(highest.unsqueeze(1)).exp_()
        sums = exponentials.sum(1)
        losses[part] = sums.log().add_(highest) - of_targets
        if gradient is None:
            continue
        exponentials = exponentials.scatter_add_(1, own, -sums.unsqueeze(1)).to(hidden.dtype)
        share = (_of_rows(scale, part) / sums).unsqueeze(1)
        torch.mm(exponentials, head, out=products[part]).mul_(share)
        gradient.add_(torch.mm(exponentials.t(), (hidden[part] * share).to(hidden.dtype)))
    return losses, products
