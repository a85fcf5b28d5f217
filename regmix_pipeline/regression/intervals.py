"""Prediction intervals from out-of-fold residuals, and a check of how often they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Array = NDArray[np.float64]
Folds = NDArray[np.int64]


def conformal_quantile(sizes: Array, level: float) -> Array:
    """The ceil(level (n + 1))-th smallest of n residual sizes, (n, T) -> (T,): split conformal (Vovk et al. 2005).

    >>> conformal_quantile(np.arange(1.0, 11.0)[:, None], level=0.8).tolist()
    [9.0]
    """
    n = len(sizes)
    rank = min(int(np.ceil(level * (n + 1))), n)
    return np.sort(sizes, axis=0)[rank - 1]


def coverage_rows(
    residual: Array, scale: Array, fold: Folds, targets: Sequence[str], chosen: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """How often intervals of ``level`` hold the loss, as score rows of metric ``coverage``.

    Each fold's intervals are as wide as the residuals of the other folds ask; (low, high) is Clopper and Pearson's
    interval of the share. Residuals are out of fold already.

    Args:
        residual: out-of-fold residuals (n, T).
        scale: what each row's interval is proportional to, (n, T).
    """
    sizes = np.abs(residual) / scale
    inside = np.zeros_like(sizes, dtype=bool)
    for k in np.unique(fold):
        inside[fold == k] = sizes[fold == k] <= conformal_quantile(sizes[fold != k], level)
    n, hits = len(inside), inside.sum(axis=0)
    tail = (1 - level) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    high = np.where(hits < n, beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    return [
        {
            "regressor": chosen[column],
            "target": target,
            "split": "random",
            "metric": "coverage",
            "value": float(hits[column] / n),
            "low": float(low[column]),
            "high": float(high[column]),
            "chosen": True,
        }
        for column, target in enumerate(targets)
    ]
