"""BiMix's bivariate law: a domain's loss from its own proportion and the training step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.laws.law import Block, Law, Shape
from regmix_pipeline.regression.laws.least_squares import Problems, minimise, predictions

ABSENT = 1e-4
"""Added to the proportion: the law itself has no loss for a domain that is absent."""


class BiMixLaw(Law):
    """loss = r^-a (B s^-k + C), with r the domain's own proportion and s the training step (Ge et al., arXiv
    2405.14908).

    Rows are the weights followed by the step, (n, d + 1), so every checkpoint of every run is a row. It knows one
    domain only, the target's own; it is for following a domain's loss through training, not for choosing among
    mixtures.

    Args:
        own: column of the target's own domain.
        inner_folds, seed: as for every law.
    """

    def __init__(self, own: int = 0, inner_folds: int = 4, seed: int = 0) -> None:
        super().__init__(inner_folds, seed)
        self.own = own

    def blocks(self, d: int) -> list[Block]:
        return [
            Block("offset", 1, 0.0, 0.0),
            Block("level", 1, 0.0, 10.0),
            Block("log_step_power", 1, -1.0, 1.0),
            Block("floor", 1, 0.0, 3.0),
            Block("log_proportion_power", 1, -2.5, 1.5),
        ]

    def shapes(self, rows: int) -> Sequence[Shape]:
        return [Shape("bivariate", 1e-3, {}, {})]

    def centre(self, share: Array, Y: Array) -> Array:
        """The law has no additive offset, so losses are scaled but not centred."""
        return np.zeros(Y.shape[1])

    def exponent(self, theta: Array, X: Array, with_jacobian: bool) -> tuple[Array, Array | None]:
        step = np.log(np.maximum(X[:, -1], 1e-9))[None]
        proportion = np.log(X[:, self.own] + ABSENT)[None]
        power, own_power = np.exp(theta[:, 2:3]), np.exp(theta[:, 4:5])
        falling = theta[:, 1:2] - power * step
        total = np.logaddexp(falling, theta[:, 3:4])
        u = total - own_power * proportion
        if not with_jacobian:
            return u, None
        part = np.exp(falling - total)
        J = np.zeros((*u.shape, theta.shape[1]))
        J[:, :, 1] = part
        J[:, :, 2] = -part * power * step
        J[:, :, 3] = 1 - part
        J[:, :, 4] = -own_power * proportion
        return u, J

    def left_out(self, X: Array, y: Array, fold: NDArray[np.int64], ahead: Array) -> Array:
        """Predictions for ``ahead`` by the law without each fold, all folds solved at once from the fit to all rows.

        Args:
            X: weights and steps, (n, d + 1).
            y: losses, nats per token, (n,).
            fold: of each row, 0 to K - 1, (n,).
            ahead: rows to predict, (m, d + 1).

        Returns:
            (K, m), nats per token; row k knows nothing of fold k.
        """
        self.fit(X, y)
        folds = int(fold.max()) + 1
        scale = self.learned_["scale"][0]
        scaled = (y / scale)[None]
        mean, precision = self._prior(self.shapes(len(X))[0], X, scaled)
        kept = (fold[None] != np.arange(folds)[:, None]).astype(float)
        kept *= len(X) / kept.sum(axis=1, keepdims=True)
        problems = Problems(
            np.tile(scaled, (folds, 1)), kept, np.tile(mean, (folds, 1)), np.tile(precision, (folds, 1))
        )
        theta, _ = minimise(self.exponent, np.tile(self.learned_["theta"], (folds, 1)), X, problems)
        return scale * predictions(self.exponent, theta, ahead)
