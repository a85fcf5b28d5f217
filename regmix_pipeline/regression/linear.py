"""Ridge regression whose penalty is chosen by exact leave-one-out errors, for every target at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor

PENALTIES = np.geomspace(1e-6, 1e2, 17)
"""Penalties tried, relative to the largest eigenvalue of the centred, weighted Gram matrix."""


class LinearRegressor(MixtureRegressor):
    """loss = b + t.w with an L2 penalty on t.

    The penalty of each target is the one with the least leave-one-out error, which for ridge has a closed form
    (residual / (1 - leverage)), so no row is predicted by a model that saw it.
    """

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        n = len(X)
        root = np.sqrt(sample_weight)[:, None]
        centre = (sample_weight @ X) / sample_weight.sum()
        level = (sample_weight @ Y) / sample_weight.sum()
        U, singular, Vt = np.linalg.svd((X - centre) * root, full_matrices=False)
        residual_of = (Y - level) * root
        if singular.size == 0 or singular[0] < 1e-12:  # every row is the same mixture
            return {"intercept": level, "slopes": np.zeros((X.shape[1], Y.shape[1]))}
        projected = U.T @ residual_of
        penalties = PENALTIES * singular[0] ** 2
        errors = np.empty((len(penalties), Y.shape[1]))
        for row, penalty in enumerate(penalties):
            shrink = singular**2 / (singular**2 + penalty)
            leverage = (U**2) @ shrink + sample_weight / sample_weight.sum()
            left = residual_of - U @ (shrink[:, None] * projected)
            errors[row] = np.mean((left / np.maximum(1 - leverage, 1.0 / n)[:, None]) ** 2, axis=0)
        best = penalties[errors.argmin(axis=0)]
        slopes = Vt.T @ (singular[:, None] / (singular[:, None] ** 2 + best) * projected)
        return {"intercept": level - centre @ slopes, "slopes": slopes}

    def _predict(self, X: Array, columns: Columns) -> Array:
        return self.learned_["intercept"][columns] + X @ self.learned_["slopes"][:, columns]
