"""What a law misses: a Gaussian process or trees on its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.linalg import eigh, qr

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.trees import COMMON, booster_predictions, parsed, trained

LENGTHS = (0.3, 0.6, 1.2, 2.4, 5.0)
"""Length scales tried, in units of the most spread coordinate's deviation."""
NOISES = tuple(np.geomspace(1e-3, 1e3, 19).tolist())
"""Noise variances tried, as multiples of the process's."""
DETERMINED = 3.0
"""A direction of the law's parameters may move when the data say at least this much about it, in units of its prior."""

TUNED_ON = 600
"""Rows that length scale and noise are chosen on; with more, a random part of them, as the cost grows with the cube."""


class CorrectedLaw(MixtureRegressor):
    """Base: a saturation law plus a model of its residuals.

    Args:
        seed: of the law's inner folds.
    """

    law_: SaturationLaw

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None, law: SaturationLaw | None = None) -> Self:
        """As every regressor; ``law``, when given, is the saturation law already fitted to the same rows."""
        self._given = law
        try:
            return super().fit(X, y, sample_weight)
        finally:
            self._given = None

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        law = self._given or SaturationLaw(seed=self.seed).fit(X, Y, sample_weight)
        self.law_ = law
        return {"law": law.state(), **self._correct(law, X, Y, sample_weight)}

    def restore(self, state: dict[str, Any]) -> Self:
        super().restore(state)
        self.law_ = SaturationLaw().restore(self.learned_["law"])
        return self

    def _correct(self, law: SaturationLaw, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        raise NotImplementedError


class GaussianProcessLaw(CorrectedLaw):
    """loss = saturation law + its tangent . d + g(z) + noise: universal kriging around the law.

    g is a Gaussian process with a Matern 5/2 kernel over z_j = sqrt(help_j), the law's own coordinates, so that domains
    count by what they do for the target. The law's parameters may move along their tangent as far as the data determine
    them, and their uncertainty is part of the posterior. Length scale and noise minimise leave-one-out errors, which
    have a closed form (Rasmussen & Williams 2006, section 5.4.2).
    """

    def _correct(self, law: SaturationLaw, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        residual = Y - law.predict(X).reshape(Y.shape)
        return {"X": X, "targets": [self._krige(law, X, residual[:, j], sample_weight, j) for j in range(Y.shape[1])]}

    def _krige(
        self,
        law: SaturationLaw,
        X: Array,
        residual: Array,
        weight: Array,
        target: int,
        lengths: Sequence[float] = LENGTHS,
        noises: Sequence[float] = NOISES,
    ) -> dict[str, Any]:
        n = len(X)
        if n > TUNED_ON and len(lengths) > 1:
            some = np.random.Generator(np.random.PCG64(self.seed)).permutation(n)[:TUNED_ON]
            tuned = self._krige(law, X[some], residual[some], weight[some], target)
            lengths, noises = (tuned["length"],), (tuned["noise"],)
        root = np.sqrt(np.maximum(weight, 1e-6))  # rows scaled by it all have the same noise
        trend = law.tangent(X, target) / (law.learned_["scale"][target] * np.sqrt(n))
        U, singular, Vt = np.linalg.svd(trend * root[:, None], full_matrices=False)
        kept = np.flatnonzero(singular**2 > DETERMINED)[: max(n // 2, 1)]
        back = Vt[kept].T / singular[kept]
        basis, complement = U[:, kept], qr(U[:, kept])[0][:, len(kept) :]  # type: ignore[index]
        z = np.sqrt(law.help(X, target))
        size = float(z.std(axis=0).max()) or 1.0
        scaled = residual * root
        best: tuple[float, Any] = (np.inf, None)
        for length in lengths:
            kernel = root[:, None] * matern(z, z, length * size) * root[None, :]
            values, vectors = eigh(complement.T @ kernel @ complement)
            F = complement @ vectors
            seen = vectors.T @ (complement.T @ scaled)
            for noise in noises:
                inverse = 1 / (np.maximum(values, 0) + noise)
                alpha = F @ (inverse * seen)
                loo = float(np.mean((alpha / np.maximum(F**2 @ inverse, 1e-300)) ** 2))
                if loo < best[0]:
                    best = (loo, (length, noise, alpha, kernel, inverse, F))
        _, (length, noise, alpha, kernel, inverse, F) = best
        drift = basis.T @ (scaled - kernel @ alpha - noise * alpha)
        # sigma^2 of the process, from the whitened residuals: seen ~ N(0, sigma^2 (values + noise)).
        variance = float(np.mean((F.T @ scaled) ** 2 * inverse)) if F.shape[1] else 0.0
        return {
            "size": size * length,
            "length": length,
            "noise": noise,
            "variance": variance,
            "alpha": alpha * root,
            "drift": back @ drift,
            "back": back,
            "basis": basis,
            "root": root,
        }

    def _predict(self, X: Array, columns: Columns) -> Array:
        predicted = self.law_.predict_targets(X, columns)
        train = self.learned_["X"]
        for place, j in enumerate(columns):
            known = self.learned_["targets"][j]
            z, seen = np.sqrt(self.law_.help(X, j)), np.sqrt(self.law_.help(train, j))
            trend = self.law_.tangent(X, j) / (self.law_.learned_["scale"][j] * np.sqrt(len(train)))
            predicted[:, place] += matern(z, seen, known["size"]) @ known["alpha"] + trend @ known["drift"]
        return predicted

    def standard_deviation(self, X: Array, columns: Columns | None = None, of_measurement: bool = True) -> Array:
        """Posterior standard deviation, nats per token, (m, T): process and law, and the noise of a new measurement."""
        train = self.learned_["X"]
        columns = np.arange(self.targets_) if columns is None else columns
        spread = np.empty((len(X), len(columns)))
        for place, j in enumerate(columns):
            known = self.learned_["targets"][j]
            root, basis = known["root"], known["basis"]
            seen, z = np.sqrt(self.law_.help(train, j)), np.sqrt(self.law_.help(X, j))
            kernel = root[:, None] * matern(seen, seen, known["size"]) * root[None, :]
            kernel[np.diag_indices_from(kernel)] += known["noise"]
            cross = matern(z, seen, known["size"]) * root
            trend = self.law_.tangent(X, j) / (self.law_.learned_["scale"][j] * np.sqrt(len(train)))
            inverse_cross = np.linalg.solve(kernel, cross.T)  # (n, m)
            inverse_basis = np.linalg.solve(kernel, basis)  # (n, p)
            left = trend @ known["back"] - inverse_cross.T @ basis
            drift = (
                np.einsum("mp,mp->m", left, np.linalg.solve(basis.T @ inverse_basis, left.T).T) if left.size else 0.0
            )
            process = 1 - np.einsum("mn,nm->m", cross, inverse_cross)
            spread[:, place] = np.sqrt(
                known["variance"] * np.maximum(process + drift + float(of_measurement) * known["noise"], 1e-12)
            )
        return spread


class BoostedLaw(CorrectedLaw):
    """Saturation law + LightGBM on its residuals, small trees with strong shrinkage; sees the weights and the law."""

    def __init__(self, rounds: int = 150, learning_rate: float = 0.05, seed: int = 0) -> None:
        super().__init__(seed)
        self.rounds, self.learning_rate = rounds, learning_rate

    def _correct(self, law: SaturationLaw, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        settings = {
            **COMMON,
            "learning_rate": self.learning_rate,
            "num_leaves": 6,
            "min_data_in_leaf": int(np.clip(len(X) // 20, 3, 15)),
            "min_data_in_bin": 1,
            "lambda_l2": 1.0,
            "seed": self.seed,
        }
        base = law.predict(X).reshape(Y.shape)
        models = [
            trained(settings, self.rounds, np.column_stack([X, base[:, j]]), Y[:, j] - base[:, j], sample_weight)
            for j in range(Y.shape[1])
        ]
        return {"models": [model.model_to_string() for model in models]}

    def _predict(self, X: Array, columns: Columns) -> Array:
        base = self.law_.predict_targets(X, columns)
        corrections = [
            booster_predictions(parsed(self.learned_["models"][j]), np.column_stack([X, base[:, place]]))
            for place, j in enumerate(columns)
        ]
        return base + np.column_stack(corrections)


def matern(A: Array, B: Array, length: float) -> Array:
    """Matern 5/2 kernel between rows, (m, k) and (n, k) -> (m, n); 1 at distance 0."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1)[None] - 2 * A @ B.T
    distance = np.sqrt(np.maximum(squared, 0.0) * 5) / length
    return (1 + distance + distance**2 / 3) * np.exp(-distance)
