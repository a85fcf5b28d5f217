"""Scores of predictions, each with a bootstrap interval over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
METRICS = ("spearman", "pearson", "rmse")


def correlation(a: Array, b: Array, weight: Array | None = None) -> Array:
    """Pearson correlation of columns, shape (T,) or (B, T) with ``weight`` (B, n); 0 where a side is constant.

    Args:
        a, b: shape (n, T).
        weight: counts of rows in each of B resamples, shape (B, n).
    """
    weight = np.ones((1, len(a))) if weight is None else weight
    share = weight / weight.sum(axis=1, keepdims=True)
    # Centred once on the rows at hand, so that the moments below do not cancel.
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    mean_a, mean_b = share @ a, share @ b
    covariance = share @ (a * b) - mean_a * mean_b
    variance = (share @ a**2 - mean_a**2) * (share @ b**2 - mean_b**2)
    scale = (a**2).mean(axis=0) * (b**2).mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(variance > 1e-20 * scale, covariance / np.sqrt(np.maximum(variance, 1e-300)), 0.0)
    value = np.clip(np.where(scale > 0, value, 0.0), -1.0, 1.0)
    return value


def spearman(predicted: Array, actual: Array) -> Array:
    """Rank correlation per target; predictions and losses (n, T) -> (T,); 0 where a side is constant.

    >>> spearman(np.array([[3.1], [2.9], [3.4]]), np.array([[3.0], [2.8], [3.9]])).round(3).tolist()
    [1.0]
    """
    return correlation(rankdata(predicted, axis=0), rankdata(actual, axis=0))[0]


def rmse(predicted: Array, actual: Array) -> Array:
    """Root mean square error per target, nats per token, (n, T) -> (T,).

    >>> rmse(np.array([[3.0], [3.0]]), np.array([[3.3], [2.6]])).round(4).tolist()
    [0.3536]
    """
    return np.sqrt(((predicted - actual) ** 2).mean(axis=0))


def scores_with_intervals(
    predicted: Array, actual: Array, level: float, resamples: int, seed: int
) -> dict[str, tuple[Array, Array, Array]]:
    """metric -> (value, low, high), each of shape (T,): Spearman and Pearson in [-1, 1], RMSE in nats per token.

    Intervals are bootstrap percentiles over rows; Spearman's resamples keep the ranks of all rows, so that rows drawn
    twice tie with themselves.

    Args:
        predicted, actual: shape (n, T).
        level: coverage of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.
    """
    n = len(actual)
    counts = np.random.Generator(np.random.PCG64(seed)).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    ranks = rankdata(predicted, axis=0), rankdata(actual, axis=0)
    squared = (predicted - actual) ** 2
    found = {
        "spearman": (correlation(*ranks)[0], correlation(*ranks, counts)),
        "pearson": (correlation(predicted, actual)[0], correlation(predicted, actual, counts)),
        "rmse": (np.sqrt(squared.mean(axis=0)), np.sqrt(counts @ squared / n)),
    }
    tails = [(1 - level) / 2, (1 + level) / 2]
    return {metric: (value, *np.quantile(drawn, tails, axis=0)) for metric, (value, drawn) in found.items()}
