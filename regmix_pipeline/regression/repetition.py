"""Repeated data: what a domain's tokens are worth when the run sees them more than once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor, unfitted
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.regression.laws.epochs import EpochLaw
from regmix_pipeline.regression.laws.worth import DECAY, worth


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


class EpochsRegressor(RepeatedDataRegressor):
    """The saturation law with a fitted response to repetition; see `EpochLaw`.

    Args:
        epochs_per_weight: as of `RepeatedDataRegressor`.
        seed: of the law's inner folds.

    >>> weights = np.linspace(0.05, 0.95, 19)[:, None] * [1, -1] + [0, 1]
    >>> losses = 3 - worth(weights, np.array([20.0, 0.5]), decay=2.0)[:, 0] ** 0.5
    >>> law = EpochsRegressor([20.0, 0.5]).fit(weights, losses)
    >>> bool(np.abs(law.predict(weights) - losses).max() < 0.05)
    True
    """

    def __init__(self, epochs_per_weight: list[float] | None = None, seed: int = 0) -> None:
        self.epochs_per_weight, self.seed = epochs_per_weight, seed

    @property
    def base(self) -> EpochLaw:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The law, not fitted."""
        return EpochLaw(seed=self.seed)

    def _features(self, X: Array, rates: Array | None = None) -> Array:
        return with_epochs(X, self.epochs_per_weight, rates)

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        super()._fit(X, Y, sample_weight)
        law = self.base_
        return {
            "shapes": law.learned_["shapes"],
            "memory": np.array([law.memory(target) for target in range(Y.shape[1])]),  # type: ignore[attr-defined]
        }


class EpochsProcess(GaussianProcessLaw):
    """That law as the trend of a Gaussian process.

    Args:
        epochs_per_weight: as of `RepeatedDataRegressor`.
        seed: of the rows that length scale and noise are chosen on, and of the law's inner folds.

    >>> weights = np.linspace(0.05, 0.95, 19)[:, None] * [1, -1] + [0, 1]
    >>> losses = 3 - worth(weights, np.array([20.0, 0.5]), decay=2.0)[:, 0] ** 0.5
    >>> EpochsProcess([20.0, 0.5]).fit(weights, losses).standard_deviation(weights[:2]).shape
    (2, 1)
    """

    _rates: Array | None = None

    def __init__(self, epochs_per_weight: list[float] | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        self.epochs_per_weight = epochs_per_weight

    def new_law(self) -> EpochLaw:
        return EpochLaw(seed=self.seed)

    def fit(
        self, X: Array, y: Array, sample_weight: Array | None = None, law: Any = None, rates: Array | None = None
    ) -> Self:
        """As every regressor; ``rates`` are each row's own epochs at weight 1, (n, d)."""
        self._rates = rates
        try:
            return super().fit(X, y, sample_weight, law)
        finally:
            self._rates = None

    def predict_at(self, X: Array, rates: Array) -> Array:
        """Predicted losses (m, T) of runs whose rates are known row by row, (m, d)."""
        return self._at(rates, lambda: self.predict_targets(X, np.arange(self.targets_)))

    def deviation_at(self, X: Array, rates: Array) -> Array:
        """Posterior deviations (m, T) of runs whose rates are known row by row, (m, d)."""
        return self._at(rates, lambda: self.standard_deviation(X))

    def _at(self, rates: Array, of: Callable[[], Array]) -> Array:
        self._rates = rates
        try:
            return of()
        finally:
            self._rates = None

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        return super()._fit(with_epochs(X, self.epochs_per_weight, self._rates), Y, sample_weight)

    def _predict(self, X: Array, columns: Columns) -> Array:
        return super()._predict(with_epochs(X, self.epochs_per_weight, self._rates), columns)

    def _whitened(self, X: Array, target: int) -> tuple[Array, Array, Array]:
        return super()._whitened(with_epochs(X, self.epochs_per_weight, self._rates), target)


def with_epochs(X: Array, epochs_per_weight: list[float] | None, rates: Array | None = None) -> Array:
    """Weights and the epochs of every domain, (n, 2d): of rates (n, d) row by row, else of those of all runs.

    >>> with_epochs(np.array([[0.25, 0.75]]), [8.0, 1.0]).tolist()
    [[0.25, 0.75, 2.0, 0.75]]
    """
    if rates is None:
        rates = np.zeros(X.shape[1]) if epochs_per_weight is None else np.asarray(epochs_per_weight, dtype=float)
    if np.shape(rates) not in (X.shape, X.shape[1:]):
        raise ValueError(f"rates of shape {np.shape(rates)} do not go with weights of shape {X.shape}")
    return np.column_stack([X, X * rates])
