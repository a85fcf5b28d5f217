"""Repeated data: what a domain's tokens are worth when the run sees them more than once."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor, unfitted

DECAY = 15.4
"""Repetitions after which a token's worth has fallen to 1/e: R*_D of Muennighoff et al., arXiv 2305.16264."""


def worth(weights: Array, epochs_per_weight: Array, decay: float = DECAY) -> Array:
    """Weights as far as they bring something new, (n, d): w for the first epoch, then less and less.

    With e = w x tokens / available epochs, a domain is worth w (1 + R (1 - exp(-(e - 1) / R))) / e beyond one epoch
    (Muennighoff et al. 2023, equation 5).

    Args:
        weights: (n, d).
        epochs_per_weight: epochs of a domain at weight 1, that is tokens / available tokens, (d,) or row by row (n, d).
        decay: R in repetitions.
    """
    epochs = weights * epochs_per_weight
    repeated = np.maximum(epochs - 1, 0.0)
    return weights * np.where(epochs > 1, (1 + decay * -np.expm1(-repeated / decay)) / np.maximum(epochs, 1.0), 1.0)


class RepeatedDataRegressor(MixtureRegressor):
    """A regressor of what the weights are worth and of the epochs themselves, for runs that repeat data.

    Runs that differ in length, or in the tokens available to them, repeat differently at the same weights, so each row
    of `fit` may have its own rates. Predictions are for runs of the rates ``epochs_per_weight``: proxies', whose losses
    are what a search compares.

    Args:
        base: the regressor, fitted to (worth, epochs) of every domain.
        epochs_per_weight: epochs of each domain at weight 1 in the runs that are predicted, length d; None for no
            repetition. Rows of `fit` without rates of their own have these.
        decay: see `worth`.
    """

    def __init__(
        self, base: MixtureRegressor, epochs_per_weight: list[float] | None = None, decay: float = DECAY
    ) -> None:
        self.base, self.epochs_per_weight, self.decay = base, epochs_per_weight, decay

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None, rates: Array | None = None) -> Self:
        """As every regressor; ``rates`` are each row's own epochs at weight 1, (n, d)."""
        self._rates = rates
        try:
            return super().fit(X, y, sample_weight)
        finally:
            self._rates = None

    def predict_at(self, X: Array, rates: Array) -> Array:
        """Predicted losses (m, T) of runs whose rates are known row by row, (m, d)."""
        return self.base_.predict_targets(self._features(X, rates), np.arange(self.targets_))

    def _features(self, X: Array, rates: Array | None = None) -> Array:
        if rates is None:
            rates = np.zeros(X.shape[1]) if self.epochs_per_weight is None else np.asarray(self.epochs_per_weight)
        if np.shape(rates) not in (X.shape, X.shape[1:]):
            raise ValueError(f"rates of shape {np.shape(rates)} do not go with weights of shape {X.shape}")
        repeated = np.maximum(X * rates - 1, 0.0)
        # Epochs of domains that nobody repeats are a constant column, which no regressor learns from.
        return np.column_stack([worth(X, rates, self.decay), np.log1p(repeated)])

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        self.base_ = unfitted(self.base).fit(self._features(X, self._rates), Y, sample_weight)
        return {}

    def _predict(self, X: Array, columns: Columns) -> Array:
        return self.base_.predict_targets(self._features(X), columns)

    def parameters(self) -> dict[str, Any]:
        return {name: value for name, value in super().parameters().items() if name != "base"}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "base": self.base_.state()}

    def restore(self, state: dict[str, Any]) -> Self:
        super().restore(state)
        self.base_ = unfitted(self.base).restore(state["base"])
        return self
