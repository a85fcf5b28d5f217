"""The stack: a weighted mean of regressors per target, its weights from out-of-fold predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]
SUM_PENALTY = 1e3
"""Weight of the row that makes the weights sum to 1: a mean of predictions extrapolates, a rescaled one does not."""


def blend_weights(held_out: Mapping[str, Array], actual: Array) -> Array:
    """Weights (regressors, T), not negative, summing to 1: least squares of the losses on out-of-fold predictions.

    Args:
        held_out: regressor -> out-of-fold predictions (n, T).
        actual: losses (n, T).

    >>> actual = np.array([[3.0], [2.5], [2.8], [3.2]])
    >>> blend_weights({"good": actual + 0.01, "bad": actual[::-1]}, actual).round(2).tolist()
    [[1.0], [0.0]]
    """
    names, targets = list(held_out), actual.shape[1]
    weights = np.empty((len(names), targets))
    for target in range(targets):
        # Errors, not predictions: with weights summing to 1 the two are the same problem, and this one is conditioned.
        errors = _errors(held_out, actual, target)
        system = np.vstack([errors, SUM_PENALTY * np.ones((1, len(names)))])
        found = nnls(system, np.r_[np.zeros(len(errors)), SUM_PENALTY])[0]
        weights[:, target] = found / found.sum() if found.sum() > 0 else 1 / len(names)
    weights[weights < 0.03] = 0.0
    return weights / weights.sum(axis=0)


def _errors(held_out: Mapping[str, Array], actual: Array, target: int) -> Array:
    """Errors of each regressor in units of the losses' deviation, over the root of the number of rows, (n,
    regressors)."""
    scale = (float(actual[:, target].std()) or 1.0) * np.sqrt(len(actual))
    return np.column_stack([predicted[:, target] - actual[:, target] for predicted in held_out.values()]) / scale


def blended(held_out: Mapping[str, Array], weights: Array) -> Array:
    """The stack's predictions (n, T) from the regressors'."""
    return np.einsum("knt,kt->nt", np.stack(list(held_out.values())), weights)


def cross_fitted(held_out: Mapping[str, Array], actual: Array, fold: NDArray[np.int64]) -> Array:
    """The stack's out-of-fold predictions (n, T): each fold is blended with weights from the other folds.

    Rows outside all folds (numbered -1) stay NaN.
    """
    predicted = np.full_like(actual, np.nan)
    for k in np.unique(fold[fold >= 0]):
        others, held = (fold != k) & (fold >= 0), fold == k
        weights = blend_weights(_rows(held_out, others), actual[others])
        predicted[held] = blended(_rows(held_out, held), weights)
    return predicted


def _rows(held_out: Mapping[str, Array], rows: NDArray[np.bool_]) -> dict[str, Array]:
    return {name: values[rows] for name, values in held_out.items()}


def one_hot(names: Sequence[str], chosen: Sequence[str]) -> Array:
    """Blend weights (regressors, T) that are 1 on each target's chosen regressor.

    >>> one_hot(["linear", "saturation"], chosen=["saturation", "linear", "linear"]).tolist()
    [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return np.array([[float(name == pick) for pick in chosen] for name in names])
