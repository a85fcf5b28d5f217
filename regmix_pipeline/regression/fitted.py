"""Fitted regressors of a study: predictions with intervals, scores, and a folder that holds them without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.regression.catalogue import REGRESSORS
from regmix_pipeline.regression.estimator import MixtureRegressor, to_arrays, to_lists

Array = NDArray[np.float64]
FORMAT = 1


@dataclass(frozen=True)
class FittedRegressor:
    """The chosen regressor of every target.

    Attributes:
        domains: columns of every weights array, length d.
        targets: columns of every loss array, length T.
        weights: mixtures it was fitted on, (n, d).
        losses: what was measured on them, nats per token, (n, T).
        chosen: target -> name of the regressor chosen for it.
        out_of_fold: predictions of the chosen regressors, made without each row's fold, (n, T).
        scores: rows with keys regressor, target, split, metric, value, low, high, chosen.
        models: regressor name -> (estimator, columns of the targets it predicts).
    """

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Array
    losses: Array
    chosen: dict[str, str]
    out_of_fold: Array
    scores: list[dict[str, Any]]
    models: dict[str, tuple[MixtureRegressor, list[int]]]

    def predict(self, weights: Array) -> Array:
        """Losses predicted for mixtures: (m, d) -> (m, T), nats per token."""
        weights = self._checked(weights)
        predicted = np.empty((len(weights), len(self.targets)))
        for estimator, columns in self.models.values():
            predicted[:, columns] = estimator.predict(weights)
        return predicted

    def objective(self, weights: Array, target_weights: Mapping[str, float]) -> Array:
        """The weighted mean of the targets' predicted losses, (m, d) -> (m,); only targets with weight are computed."""
        share = self.shares(target_weights)
        weights = self._checked(weights)
        total = np.zeros(len(weights))
        for estimator, columns in self.models.values():
            if share[columns].any():
                total += estimator.predict(weights) @ share[columns]
        return total

    def shares(self, target_weights: Mapping[str, float]) -> Array:
        """Target weights as shares that sum to 1, in the order of `targets`, (T,).

        Raises:
            RegressionError: an unknown target, a negative weight, or none above zero.
        """
        unknown = sorted(set(target_weights) - set(self.targets))
        if unknown:
            raise RegressionError(f"unknown targets {unknown}", where="target weights", remedy=f"use {self.targets}")
        share = np.array([float(target_weights.get(target, 0.0)) for target in self.targets])
        if not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
            raise RegressionError("target weights must be finite, not negative, not all zero", where="target weights")
        return share / share.sum()

    def interval(self, weights: Array, level: float = 0.9) -> tuple[Array, Array]:
        """Where a proxy's measured loss would fall with probability ``level``: (low, high), each (m, T).

        Split conformal on out-of-fold residuals: prediction -+ the level-quantile of their size.
        """
        predicted = self.predict(weights)
        half = half_width(self.losses - self.out_of_fold, level)
        return predicted - half, predicted + half

    def objective_interval(
        self, weights: Array, target_weights: Mapping[str, float], level: float = 0.9
    ) -> tuple[Array, Array]:
        """The same for the weighted mean of targets: (low, high), each (m,). Errors shared by targets are counted."""
        predicted = self.objective(weights, target_weights)
        half = half_width((self.losses - self.out_of_fold) @ self.shares(target_weights)[:, None], level)[0]
        return predicted - half, predicted + half

    def save(self, folder: Path | str) -> None:
        """Write ``regressor.json`` into ``folder``: laws as numbers, trees as LightGBM's text. No pickle."""
        write_json(
            Path(folder) / "regressor.json",
            {
                "format": FORMAT,
                "domains": self.domains,
                "targets": self.targets,
                "chosen": self.chosen,
                "scores": self.scores,
                "weights": to_lists(self.weights),
                "losses": to_lists(self.losses),
                "out_of_fold": to_lists(self.out_of_fold),
                "models": {
                    name: {"columns": columns, **estimator.state()}
                    for name, (estimator, columns) in self.models.items()
                },
            },
        )

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            RegressionError: the file is missing or of another format.
        """
        path = Path(folder) / "regressor.json"
        try:
            kept = read_json(path)
        except (OSError, ValueError) as problem:
            raise RegressionError(f"cannot be read: {problem}", where=str(path), remedy="fit again") from problem
        if kept.get("format") != FORMAT:
            raise RegressionError("written by another version", where=str(path), remedy="fit again")
        kinds: Mapping[str, Any] = REGRESSORS
        return cls(
            tuple(kept["domains"]),
            tuple(kept["targets"]),
            to_arrays(kept["weights"]),
            to_arrays(kept["losses"]),
            kept["chosen"],
            to_arrays(kept["out_of_fold"]),
            kept["scores"],
            {
                name: (type(kinds[name]()).restore(state), [int(column) for column in state["columns"]])
                for name, state in kept["models"].items()
            },
        )

    def _checked(self, weights: Array) -> Array:
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        if weights.shape[1] != len(self.domains):
            raise RegressionError(
                f"weights have {weights.shape[1]} columns",
                where="weights",
                remedy=f"give one per domain: {self.domains}",
            )
        return weights


def half_width(residuals: Array, level: float) -> Array:
    """The conformal quantile of absolute residuals (n, T) -> (T,), with the finite-sample correction (n + 1)."""
    n = len(residuals)
    rank = min(int(np.ceil(level * (n + 1))), n)
    return np.sort(np.abs(residuals), axis=0)[rank - 1]


def columns_by(chosen: Sequence[str]) -> dict[str, list[int]]:
    """Regressor -> the target columns that chose it."""
    grouped: dict[str, list[int]] = {}
    for column, name in enumerate(chosen):
        grouped.setdefault(name, []).append(column)
    return grouped
