"""LightGBM as RegMix uses it, and tuned inside the folds so that it works with few rows too."""

# ruff: noqa: TID253 - imported only by regression's own modules, which assets import inside functions
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import lightgbm
import numpy as np

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor

COMMON: Mapping[str, Any] = {
    "objective": "regression",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}
"""One thread a model, since targets and folds already run side by side; the same trees every time."""


def trained(settings: Mapping[str, Any], rounds: int, X: Array, y: Array, weight: Array) -> lightgbm.Booster:
    """A booster of ``rounds`` trees."""
    return lightgbm.train(dict(settings), lightgbm.Dataset(X, y, weight=weight, free_raw_data=True), rounds)


def booster_predictions(booster: lightgbm.Booster, X: Array) -> Array:
    """A booster's predictions, (m,), on one thread."""
    return np.asarray(booster.predict(X, num_threads=1), dtype=np.float64)


@lru_cache(maxsize=256)
def parsed(text: str) -> lightgbm.Booster:
    """A booster from LightGBM's own text; kept, since parsing costs more than predicting a few rows."""
    return lightgbm.Booster(model_str=text)


class _Trees(MixtureRegressor):
    """A booster per target, kept as LightGBM's own text."""

    def _predict(self, X: Array, columns: Columns) -> Array:
        return np.column_stack([booster_predictions(parsed(self.learned_["models"][j]), X) for j in columns])


class LightGBMRegressor(_Trees):
    """RegMix's regressor (arXiv 2407.01492 and its regression_fitting notebook) without its look at the test set.

    Everything else is as published: 1000 trees, learning rate .01, LightGBM's defaults. The notebook ends training when
    the *test* error stops falling; here all the trees are grown. Below about 40 rows LightGBM's 20 rows a leaf leave
    nothing to split, and the prediction is a constant.
    """

    def __init__(self, rounds: int = 1000, learning_rate: float = 0.01, seed: int = 42) -> None:
        self.rounds, self.learning_rate, self.seed = rounds, learning_rate, seed

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        settings = {**COMMON, "learning_rate": self.learning_rate, "seed": self.seed}
        models = [trained(settings, self.rounds, X, y, sample_weight).model_to_string() for y in Y.T]
        return {"models": models}


class TunedLightGBMRegressor(_Trees):
    """LightGBM whose leaves suit the number of rows and whose number of trees is cross-validated on the training rows.

    Args:
        max_rounds: trees tried at most.
        folds: inner folds, of the rows given to `fit` alone.
        seed: of the inner folds.
    """

    def __init__(self, max_rounds: int = 150, folds: int = 3, seed: int = 42) -> None:
        self.max_rounds, self.folds, self.seed = max_rounds, folds, seed

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        choices = [self._tuned(X, y, sample_weight) for y in Y.T]
        models = [
            trained(settings, rounds, X, y, sample_weight).model_to_string()
            for (settings, rounds), y in zip(choices, Y.T, strict=True)
        ]
        return {"models": models, "rounds": [rounds for _, rounds in choices]}

    def _shapes(self, rows: int) -> list[dict[str, Any]]:
        """Tree shapes worth trying for this many rows: with few rows, small leaves and stumps."""
        least = int(np.clip(rows // 25, 2, 20))
        common = {**COMMON, "learning_rate": 0.1, "seed": self.seed, "min_data_in_bin": 1, "min_data_in_leaf": least}
        leaves = (3, 6) if rows < 100 else (6, 12)
        return [{**common, "num_leaves": count, "lambda_l2": 0.1} for count in leaves]

    def _tuned(self, X: Array, y: Array, weight: Array) -> tuple[dict[str, Any], int]:
        """The shape and number of trees with the least error on the inner folds."""
        n = len(X)
        fold = np.random.Generator(np.random.PCG64(self.seed)).permutation(n) % min(self.folds, n)
        best: tuple[float, dict[str, Any], int] | None = None
        for settings in self._shapes(n):
            curve = np.zeros(self.max_rounds)
            for k in range(fold.max() + 1):
                train, held = fold != k, fold == k
                data = lightgbm.Dataset(X[train], y[train], weight=weight[train])
                check = lightgbm.Dataset(X[held], y[held], weight=weight[held], reference=data)
                trace: dict[str, Any] = {}
                lightgbm.train(
                    {**settings, "metric": "l2"},
                    data,
                    self.max_rounds,
                    valid_sets=[check],
                    callbacks=[lightgbm.record_evaluation(trace)],
                )
                found = np.asarray(trace["valid_0"]["l2"])
                # Training stops by itself when no split is possible; its error then stays what it was.
                curve += np.r_[found, np.full(self.max_rounds - len(found), found[-1])] * held.sum() / n
            rounds = int(curve.argmin()) + 1
            if best is None or curve[rounds - 1] < best[0]:
                best = (float(curve[rounds - 1]), settings, rounds)
        assert best is not None
        return best[1], best[2]
