"""Levenberg-Marquardt for many small problems of one shape at once: targets x starts x penalties x inner folds.

Each problem minimises, over its own parameters th of length P,

    mean_i v_i (c + exp(u(th, w_i)) - y_i)^2 + sum_k precision_k (th_k - mean_k)^2,     c = th_0,

where u is a law's exponent with an analytic jacobian. Parameters of infinite precision stay at their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Exponent = Callable[..., tuple[Array, Array | None]]
"""(th (p, P), X (n, d), jacobian: bool) -> (u (p, n), du/dth (p, n, P) or None)."""
LARGEST = 12.0
"""Exponents are cut here: losses in standard units never reach e^12, wild trial steps do."""
BLOCK_BYTES = 2**25
"""Memory of one block of jacobians."""


@dataclass
class Problems:
    """p problems over the same rows.

    Attributes:
        y: losses in standard units, (p, n).
        row_weight: weight of each row, mean about 1, 0 leaves a row out, (p, n).
        mean, precision: of the Gaussian prior, (p, P).
    """

    y: Array
    row_weight: Array
    mean: Array
    precision: Array

    def some(self, rows: NDArray[np.intp]) -> Problems:
        """The problems numbered ``rows``."""
        return Problems(self.y[rows], self.row_weight[rows], self.mean[rows], self.precision[rows])

    def penalty(self, theta: Array) -> Array:
        """The prior's part of the objective, (p,)."""
        return (self._finite * (theta - self.mean) ** 2).sum(axis=1)

    @property
    def _finite(self) -> Array:
        return np.where(np.isfinite(self.precision), self.precision, 0.0)


def predictions(exponent: Exponent, theta: Array, X: Array) -> Array:
    """c + exp(u), (p, n)."""
    return theta[:, :1] + np.exp(np.minimum(exponent(theta, X, False)[0], LARGEST))


def minimise(
    exponent: Exponent,
    start: Array,
    X: Array,
    problems: Problems,
    iterations: int = 60,
    tolerance: float = 1e-5,
) -> tuple[Array, Array]:
    """Parameters (p, P) and objectives (p,) of every problem, from the given starts.

    A problem stops when an accepted step lowers its objective by less than ``tolerance`` of itself twice running, or
    when no step helps any more.
    """
    theta = np.where(np.isfinite(problems.precision), start, problems.mean)
    objective = _objective(exponent, theta, X, problems)
    free = np.flatnonzero(np.isfinite(problems.precision).any(axis=0))
    prior = np.where(np.isfinite(problems.precision), problems.precision, 1.0)[:, free]
    held = np.asarray((prior > 0).all(axis=0))
    # With fewer rows than parameters, jacobians are smaller than their products, and so are the systems to solve.
    few = len(X) < len(free)
    curvature = np.empty((len(theta), len(X) if few else len(free), len(free)))
    diagonal, gradient = np.empty_like(prior), np.empty_like(prior)
    damping, quiet = np.full(len(theta), 1e-2), np.zeros(len(theta), dtype=int)
    alive, stale = np.arange(len(theta)), np.arange(len(theta))
    for _ in range(iterations):
        for part in _blocks(stale, len(X) * theta.shape[1]):
            J, gradient[part] = _linearised(exponent, theta[part], X, problems.some(part), free)
            curvature[part] = J if few else J.transpose(0, 2, 1) @ J
            diagonal[part] = np.einsum("pnk,pnk->pk", J, J) + prior[part]
        step = np.zeros((len(alive), theta.shape[1]))
        for places in _blocks(np.arange(len(alive)), curvature[0].size):
            part = alive[places]
            damped = prior[part] + damping[part, None] * diagonal[part] + 1e-12
            solve = _step_of_few_rows if few else _step_of_many_rows
            step[np.ix_(places, free)] = solve(curvature[part], damped, gradient[part], held)
        trial = theta[alive] - np.clip(step, -3.0, 3.0)
        found = _objective(exponent, trial, X, problems.some(alive))
        better = found < objective[alive]
        gain = np.where(better, (objective[alive] - found) / np.maximum(objective[alive], 1e-12), 0.0)
        stale = alive[better]
        theta[stale], objective[stale] = trial[better], found[better]
        damping[alive] = np.clip(np.where(better, damping[alive] * 0.25, damping[alive] * 5), 1e-9, None)
        quiet[alive] = np.where(better & (gain < tolerance), quiet[alive] + 1, np.where(better, 0, quiet[alive]))
        going = (quiet[alive] < 2) & (damping[alive] < 1e7) & (objective[alive] > 1e-14)
        stale, alive = np.intersect1d(stale, alive[going]), alive[going]
        if not len(alive):
            break
    return theta, objective


def _objective(exponent: Exponent, theta: Array, X: Array, problems: Problems) -> Array:
    found = np.empty(len(theta))
    for part in _blocks(np.arange(len(theta)), X.size * 4):
        some = problems.some(part)
        residual = predictions(exponent, theta[part], X) - some.y
        found[part] = (some.row_weight * residual**2).mean(axis=1) + some.penalty(theta[part])
    return found


def jacobian(exponent: Exponent, theta: Array, X: Array) -> tuple[Array, Array]:
    """Predictions (p, n) and their derivatives (p, n, P)."""
    u, J = exponent(theta, X, True)
    assert J is not None
    e = np.exp(np.minimum(u, LARGEST))
    J *= e[:, :, None]
    J[:, :, 0] = 1.0
    return theta[:, :1] + e, J


def _linearised(
    exponent: Exponent, theta: Array, X: Array, problems: Problems, free: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Derivatives by the ``free`` parameters, rows weighted as in the objective (p, n, F), and its half gradient
    (p, F)."""
    predicted, J = jacobian(exponent, theta, X)
    share = np.sqrt(problems.row_weight / len(X))
    precision = problems.precision[:, free]
    loose = np.isfinite(precision)
    J = J if len(free) == J.shape[2] else J[:, :, free]
    J *= share[:, :, None]
    J *= loose[:, None, :]
    gradient = (((predicted - problems.y) * share)[:, None, :] @ J)[:, 0]
    return J, np.where(loose, gradient + np.where(loose, precision, 0.0) * (theta - problems.mean)[:, free], 0.0)


def _step_of_many_rows(H: Array, damped: Array, gradient: Array, _: NDArray[np.bool_]) -> Array:
    """Solutions of (H + diag(damped)) step = gradient, (p, F)."""
    system = H + damped[:, :, None] * np.eye(H.shape[1])
    return np.linalg.solve(system, gradient[:, :, None])[:, :, 0].astype(np.float64, copy=False)


def _step_of_few_rows(J: Array, damped: Array, gradient: Array, held: NDArray[np.bool_]) -> Array:
    """The same for H = J'J, (p, n, F), with n equations instead of F (the Woodbury identity).

    Parameters that no prior holds have next to nothing in ``damped`` to divide by, so they are eliminated last.
    """
    root: Array = 1 / np.sqrt(damped[:, held])
    scaled, other = J[:, :, held] * root[:, None, :], J[:, :, ~held]
    rows = scaled @ scaled.transpose(0, 2, 1) + np.eye(J.shape[1])
    known = scaled @ (root * gradient[:, held])[:, :, None]
    found = np.linalg.solve(rows, np.concatenate([known, other], axis=2))
    turned = other.transpose(0, 2, 1)
    left = turned @ found[:, :, 1:] + damped[:, ~held, None] * np.eye(other.shape[2])
    rest = np.linalg.solve(left, gradient[:, ~held, None] - turned @ found[:, :, :1])
    explained = found[:, :, :1] + found[:, :, 1:] @ rest
    step = np.empty(gradient.shape)
    step[:, ~held] = rest[:, :, 0]
    step[:, held] = root * (root * gradient[:, held] - (scaled.transpose(0, 2, 1) @ explained)[:, :, 0])
    return step


def _blocks(rows: NDArray[np.intp], numbers_each: int) -> Iterator[NDArray[np.intp]]:
    size = max(1, BLOCK_BYTES // (8 * max(numbers_each, 1)))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]
