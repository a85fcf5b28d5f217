"""What is minimised: the weighted mean of targets' losses, or the worst of them against the natural mixture's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.fitted import FittedRegressor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """A function of mixtures to minimise, in nats per token.

    Attributes:
        fitted: the regressors.
        target_weights: target -> weight.
        natural: the mixture that worst-case losses are compared with, (d,).
        worst_case: the largest weighted difference instead of the weighted mean.
    """

    fitted: FittedRegressor
    target_weights: Mapping[str, float]
    natural: Array
    worst_case: bool = False

    def __call__(self, weights: Array, regressor: str | None = None) -> Array:
        """Values of mixtures (m, d) -> (m,), by the chosen regressors or by one of them."""
        if not self.worst_case:
            return self.fitted.objective(weights, self.target_weights, regressor)
        share = self.fitted.shares(self.target_weights)
        counted = np.flatnonzero(share)
        losses = np.column_stack([self._target(weights, int(j), regressor) for j in counted])
        natural = np.concatenate([self._target(self.natural[None], int(j), regressor) for j in counted])
        return ((losses - natural) * (share[counted] / share.max())).max(axis=1)

    def _target(self, weights: Array, column: int, regressor: str | None) -> Array:
        return self.fitted.objective(weights, {self.fitted.targets[column]: 1.0}, regressor)

    def gradient(self, weights: Array, regressor: str | None = None) -> Array:
        """Derivatives at one mixture, (d,) -> (d,), by differences of one batch of predictions."""
        step = 1e-5
        moves = np.eye(len(weights)) * step
        back = np.minimum(weights, step)  # weights stay at or above zero
        values = self(np.concatenate([weights + moves, weights - np.diag(back)]), regressor)
        return (values[: len(weights)] - values[len(weights) :]) / (step + back)
