"""Exponential laws: losses fall exponentially in the weights, or in the weights and their logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.laws.law import Block, Law, Shape
from regmix_pipeline.regression.laws.least_squares import Problems, minimise


class PowerExponentialLaw(Law):
    """loss = c + exp(b + t.w + s.log(1 + w/eps)): an exponential in the weights times a power of each.

    eps and the L2 penalty are chosen among the shapes by inner cross-validation; eps then stays fixed.
    """

    def blocks(self, d: int) -> list[Block]:
        return [
            Block("offset", 1, 0.0, 3.0),
            Block("level", 1, 0.0, np.inf),
            Block("slope", d, 0.0, 3.0),
            Block("power", d, 0.0, 0.5),
            Block("log_eps", 1, np.log(3e-3), 0.0),
        ]

    def shapes(self, rows: int) -> Sequence[Shape]:
        return [
            Shape(f"eps {eps:g}, strength {strength:g}", strength, {}, {"log_eps": float(np.log(eps))})
            for eps in (1e-3, 4e-3, 2e-2)
            for strength in (0.01, 0.1)
        ]

    def first_guess(self, theta: Array, X: Array, Y: Array) -> Array:
        """Ridge regression of log(loss - c), rows weighted as the loss itself would weigh them."""
        d = X.shape[1]
        theta = theta.copy()
        for row in range(len(theta)):
            gap = np.maximum(Y[row] - theta[row, 0], 1e-6)
            A = np.column_stack([np.ones(len(X)), X, np.log1p(X / np.exp(theta[row, -1]))])
            A[:, 1 + d :] *= float(self._has_logs)
            size = A.std(axis=0) + 1e-9
            size[0] = 1.0
            weighted = A / size * gap[:, None]
            gram = weighted.T @ weighted
            ridge = 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
            theta[row, 1:-1] = np.linalg.solve(gram + ridge, weighted.T @ (np.log(gap) * gap)) / size
        return theta

    _has_logs = True

    def exponent(self, theta: Array, X: Array, with_jacobian: bool) -> tuple[Array, Array | None]:
        d = X.shape[1]
        u = theta[:, 1:2] + theta[:, 2 : 2 + d] @ X.T
        logs = None
        if self._has_logs:
            # Problems share few values of eps, so each logarithm is taken once.
            values, which = np.unique(theta[:, -1], return_inverse=True)
            logs = np.log1p(X[None] / np.exp(values)[:, None, None])[which]  # (p, n, d)
            u = u + (logs @ theta[:, 2 + d : 2 + 2 * d, None])[:, :, 0]
        if not with_jacobian:
            return u, None
        J = np.zeros((*u.shape, theta.shape[1]))
        J[:, :, 1] = 1.0
        J[:, :, 2 : 2 + d] = X
        if logs is not None:
            J[:, :, 2 + d : 2 + 2 * d] = logs
        return u, J


class ExponentialLaw(PowerExponentialLaw):
    """loss = c + exp(b + t.w), the law of Data Mixing Laws (Ye et al., arXiv 2403.16952): c + k exp(t.w).

    Args:
        inner_folds, seed: as for every law.
        positive_offset: keep c >= 0, as olmix's log-linear form exp(log c) + exp(t.w) does (arXiv 2602.12237); b is
        then
            a part of t, since weights sum to 1.
    """

    _has_logs = False

    def __init__(self, inner_folds: int = 4, seed: int = 0, positive_offset: bool = False) -> None:
        super().__init__(inner_folds, seed)
        self.positive_offset = positive_offset

    def shapes(self, rows: int) -> Sequence[Shape]:
        no_logs = {"power": 0.0}
        return [Shape(f"strength {strength:g}", strength, no_logs, {}) for strength in (0.01, 0.1, 1.0)]

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        learned = super()._fit(X, Y, sample_weight)
        if not self.positive_offset:
            return learned
        zero = -learned["level"] / learned["scale"]
        for target in np.flatnonzero(learned["theta"][:, 0] < zero):
            # One bound on one parameter: where it binds, the best fit has c = 0.
            start = learned["theta"][[target]]
            learned["free"][target, 0] = 0.0
            precision = np.where(learned["free"][[target]] > 0, learned["penalty"][[target]], np.inf)
            mean = np.zeros_like(start)
            mean[:, 0], mean[:, -1] = zero[target], start[:, -1]
            y = (Y[:, [target]] - learned["level"][target]).T / learned["scale"][target]
            problem = Problems(y, sample_weight[None], mean, precision)
            learned["theta"][target] = minimise(self.exponent, start, X, problem)[0][0]
        return learned


LOG_LINEAR = partial(ExponentialLaw, positive_offset=True)
"""olmix's log-linear form, as a regressor."""
