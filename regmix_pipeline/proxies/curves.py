"""Training curves of proxies, short enough for a ledger and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

POINTS = 64
"""Rows of a curve at most."""


def thinned(steps: Sequence[Mapping[str, Any]], points: int = POINTS) -> list[dict[str, Any]]:
    """A training's steps as at most ``points`` rows: the mean and the highest training loss, the highest norm of the
    gradient and the last learning rate of the steps since the row before.

    Args:
        steps: a row an optimiser step, increasing: step, tokens, training_loss, gradient_norm, learning_rate.
        points: rows at most.

    >>> steps = [{"step": n, "tokens": 8 * n, "training_loss": 9.0 - n, "gradient_norm": 1.0, "learning_rate": 0.1}
    ...          for n in (1, 2, 3, 4)]
    >>> [(row["step"], row["training_loss"], row["highest_training_loss"]) for row in thinned(steps, 2)]
    [(2, 7.5, 8.0), (4, 5.5, 6.0)]
    """
    count = min(points, len(steps))
    ends = [round(len(steps) * (number + 1) / count) for number in range(count)]
    return [_summed_up(steps[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _summed_up(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last, losses = steps[-1], _known(steps, "training_loss")
    norms = _known(steps, "gradient_norm")
    return {
        "step": last["step"],
        "tokens": last["tokens"],
        "training_loss": sum(losses) / len(losses) if losses else None,
        "highest_training_loss": max(losses, default=None),
        "gradient_norm": max(norms, default=None),
        "learning_rate": last["learning_rate"],
    }


def _known(steps: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [step[name] for step in steps if step[name] is not None and math.isfinite(step[name])]
