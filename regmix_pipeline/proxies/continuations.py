# ruff: noqa: TID253  (imported only inside worker processes and tests)
"""Losses of continuations given what stands before them: what tasks are measured by.

A row is tokens of which the last few are asked for. What does not fit the model's window is cut off the front; where
the tokens asked for do not fit by themselves, the last of them are cut off, alike for every model of that window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.device import autocast, rows_per_pass
from regmix_pipeline.proxies.loss import token_losses
from regmix_pipeline.proxies.model import Decoder

Array = NDArray[np.float64]
Row = tuple[Sequence[int] | NDArray[np.int64], int]
"""Tokens, and how many of them at the end are asked for."""


def windowed(row: Row, window: int) -> tuple[NDArray[np.int64], int]:
    """The row in a window of ``window`` inputs, window + 1 tokens at most with the last only a label.

    >>> [(tokens.tolist(), asked) for tokens, asked in [windowed(([1, 2, 3, 4], 1), 2), windowed(([1, 2, 3, 4], 3), 2)]]
    [([2, 3, 4], 1), ([1, 2, 3], 2)]
    """
    tokens, asked = np.asarray(row[0], dtype=np.int64), row[1]
    kept = min(asked, window)
    tokens = tokens[: len(tokens) - (asked - kept)]
    return tokens[-(window + 1) :], kept


@torch.no_grad()
def continuation_losses(model: Decoder, rows: Sequence[Row]) -> tuple[Array, NDArray[np.int64]]:
    """Loss of each row's last tokens given those before, summed over them, nats, (n,); and how many fit the window.

    Raises:
        ProxyError: a token is outside the vocabulary.
    """
    device, window = model.head.device, model.settings.context
    texts = [windowed(row, window) for row in rows]
    if any(int(tokens.max()) >= model.vocabulary for tokens, _ in texts):
        raise ProxyError(f"a token is outside the vocabulary of {model.vocabulary}", where="continuations")
    found = np.empty(len(rows))
    # Rows of like length share a pass: little of it is padding.
    order = sorted(range(len(rows)), key=lambda row: len(texts[row][0]))
    tokens_at_once = rows_per_pass(model) * window
    with autocast(device):
        for part in _passes(order, texts, tokens_at_once):
            longest = max(len(texts[row][0]) for row in part)
            # Padding stands after the text, where causal attention cannot see it from.
            tokens = torch.zeros(len(part), longest, dtype=torch.int64)
            counted = torch.zeros(len(part), longest - 1, dtype=torch.float64)
            for line, row in enumerate(part):
                text, asked = texts[row]
                tokens[line, : len(text)] = torch.from_numpy(text)
                counted[line, len(text) - 1 - asked : len(text) - 1] = 1
            tokens = tokens.to(device)
            losses = token_losses(model(tokens[:, :-1]), model.head, tokens[:, 1:].reshape(-1))
            found[part] = (losses.view(len(part), -1).double().cpu() * counted).sum(1).numpy()
    return found, np.array([asked for _, asked in texts], dtype=np.int64)


def _passes(order: Sequence[int], texts: Sequence[tuple[Any, int]], tokens: int) -> list[list[int]]:
    """Rows of one pass each, in the order given: about ``tokens`` with their padding."""
    passes: list[list[int]] = []
    for row in order:
        if passes and (len(passes[-1]) + 1) * len(texts[row][0]) <= tokens:
            passes[-1].append(row)
        else:
            passes.append([row])
    return passes
