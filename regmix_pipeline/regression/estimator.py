"""What every regressor here is: a scikit-learn estimator from weights (n, d) to losses (n,) or (n, T)."""

# ruff: noqa: TID253 - imported only by regression's own modules, which assets import inside functions
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

Array = NDArray[np.float64]
Columns = NDArray[np.int_]


class MixtureRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of the regressors: checks input, serves one target or several, and turns a fit into JSON and back.

    Subclasses write `_fit(X, Y, sample_weight)` for Y of shape (n, T) and `_predict(X, columns)`, and keep what they
    learned in `learned_`, a dictionary of arrays, numbers, text and dictionaries of these.
    """

    learned_: dict[str, Any]
    n_features_in_: int

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Learn losses from weights.

        Args:
            X: weights, shape (n, d), not negative.
            y: losses in nats per token, shape (n,) or (n, T).
            sample_weight: relative weight of each row, shape (n,).

        Raises:
            ValueError: as scikit-learn's estimators do, for shapes, NaN or negative weights.
        """
        checks: dict[str, Any] = {"multi_output": True, "y_numeric": True, "ensure_min_samples": 2}
        X, y = validate_data(self, X, y, dtype=np.float64, **checks)  # pyright: ignore
        self._refuse_negative(X)
        row_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if row_weight.sum() <= 0:
            raise ValueError("sample weights are all zero")
        self.single_ = y.ndim == 1
        Y = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        self.targets_ = Y.shape[1]
        self.learned_ = self._fit(X, Y, row_weight * (len(X) / row_weight.sum()))
        return self

    def predict(self, X: Array) -> Array:
        """Predicted losses in nats per token, shape (m,) or (m, T) as in `fit`."""
        check_is_fitted(self, "learned_")
        X = validate_data(self, X, dtype=np.float64, reset=False)  # type: ignore[assignment]
        self._refuse_negative(X)
        predicted = self._predict(X, np.arange(self.targets_))
        return predicted[:, 0] if self.single_ else predicted

    def predict_targets(self, X: Array, columns: Sequence[int] | Columns) -> Array:
        """Predicted losses of some targets alone, (m, len(columns)); unlike `predict`, input is not checked."""
        return self._predict(X, np.asarray(columns, dtype=int))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        # A law of weights has no reason to fit scikit-learn's random regression problem well.
        tags.regressor_tags.poor_score = True
        return tags

    def state(self) -> dict[str, Any]:
        """The fit as JSON-able values: parameters, shape of the input, and `learned_`."""
        check_is_fitted(self, "learned_")
        return {
            "parameters": self.parameters(),
            "features": int(self.n_features_in_),
            "single": bool(self.single_),
            "targets": int(self.targets_),
            "learned": to_lists(self.learned_),
        }

    def parameters(self) -> dict[str, Any]:
        """What it was made with, as JSON-able values."""
        return self.get_params(deep=False)

    def restore(self, state: dict[str, Any]) -> Self:
        """Become the estimator whose `state` this is; call it on a new estimator of the same kind."""
        self.set_params(**state["parameters"])
        self.n_features_in_ = state["features"]
        self.single_, self.targets_ = state["single"], state["targets"]
        self.learned_ = to_arrays(state["learned"])
        return self

    def _refuse_negative(self, X: Array) -> None:
        if X.size and X.min() < 0:
            raise ValueError("Negative values in data passed to a regressor of mixtures: weights are not negative")

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        raise NotImplementedError

    def _predict(self, X: Array, columns: Columns) -> Array:
        raise NotImplementedError


def unfitted(regressor: MixtureRegressor) -> MixtureRegressor:
    """A new regressor with the same parameters."""
    return cast(MixtureRegressor, clone(regressor))


def to_lists(value: Any) -> Any:
    """Arrays as ``{"array": nested lists, "shape": [...]}``, everything else as it is, recursively."""
    if isinstance(value, np.ndarray):
        return {"array": value.ravel().tolist(), "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: to_lists(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_lists(part) for part in value]
    return value


def to_arrays(value: Any) -> Any:
    """The inverse of `to_lists`."""
    if isinstance(value, dict):
        if set(value) == {"array", "shape"}:
            return np.array(value["array"], dtype=np.float64).reshape(value["shape"])
        return {key: to_arrays(part) for key, part in value.items()}
    if isinstance(value, list):
        return [to_arrays(part) for part in value]
    return value
