"""What a law misses: a Gaussian process or trees on its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import cholesky, eigh, qr, solve_triangular

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
    """Base: a law plus a model of its residuals.

    A law says besides its predictions what each domain does for a target (`help`) and what small changes of its
    parameters would do (`tangent`).

    Args:
        seed: of the law's inner folds.
    """

    law_: Any

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def new_law(self) -> Any:
        """The law, not fitted."""
        return SaturationLaw(seed=self.seed)

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None, law: Any = None) -> Self:
        """As every regressor; ``law``, when given, is the law of `new_law` already fitted to the same rows."""
        self._given = law
        try:
            return super().fit(X, y, sample_weight)
        finally:
            self._given = None

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        law = self._given or self.new_law().fit(X, Y, sample_weight)
        self.law_ = law
        return {"law": law.state(), **self._correct(law, X, Y, sample_weight)}

    def restore(self, state: dict[str, Any]) -> Self:
        super().restore(state)
        self.law_ = self.new_law().restore(self.learned_["law"])
        return self

    def _correct(self, law: Any, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class JointPosterior:
    """A Gaussian belief about the mean loss of m mixtures.

    Attributes:
        mean: nats per token, (m,).
        covariance: (m, m).
        noise: variance of one proxy's measured loss around its mean.
    """

    mean: Array
    covariance: Array
    noise: float


class GaussianProcessLaw(CorrectedLaw):
    """loss = saturation law + its tangent . d + g(z) + noise: universal kriging around the law.

    g is a Gaussian process with a Matern 5/2 kernel over z_j = sqrt(help_j), the law's own coordinates, so that domains
    count by what they do for the target. The law's parameters may move along their tangent as far as the data determine
    them, and their uncertainty is part of the posterior. Length scale and noise minimise leave-one-out errors, which
    have a closed form (Rasmussen & Williams 2006, section 5.4.2). What is added to the law is never more than the
    measured losses differ by.
    """

    def _correct(self, law: Any, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        residual = Y - law.predict(X).reshape(Y.shape)
        targets = [self._krige(law, X, residual[:, j], sample_weight, j) for j in range(Y.shape[1])]
        return {"X": X, "targets": targets, "most": np.ptp(Y, axis=0)}

    def _krige(
        self,
        law: Any,
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
            correction = matern(z, seen, known["size"]) @ known["alpha"] + trend @ known["drift"]
            # From mixtures that hardly differ, directions that they say little of would be followed for ever.
            predicted[:, place] += np.clip(correction, -self.learned_["most"][j], self.learned_["most"][j])
        return predicted

    def standard_deviation(self, X: Array, columns: Columns | None = None, of_measurement: bool = True) -> Array:
        """Posterior standard deviation, nats per token, (m, T): process and law, and the noise of a new measurement."""
        columns = np.arange(self.targets_) if columns is None else columns
        spread = np.empty((len(X), len(columns)))
        for place, j in enumerate(columns):
            known = self.learned_["targets"][j]
            _, explained, drift = self._whitened(X, int(j))
            process = 1 - (explained**2).sum(axis=0) + (drift**2).sum(axis=0)
            spread[:, place] = np.sqrt(
                known["variance"] * np.maximum(process + float(of_measurement) * known["noise"], 1e-12)
            )
        return spread

    def joint_posterior(self, X: Array, shares: Array) -> JointPosterior:
        """What is believed of the weighted mean of targets at mixtures (m, d), jointly.

        Args:
            X: mixtures, (m, d).
            shares: weights of the targets in the mean, (T,). Errors of different targets are taken as independent.
        """
        counted = np.flatnonzero(shares)
        covariance, noise = np.zeros((len(X), len(X))), 0.0
        for j in counted:
            known = self.learned_["targets"][j]
            z, explained, drift = self._whitened(X, int(j))
            variance = known["variance"] * shares[j] ** 2
            covariance += variance * (matern(z, z, known["size"]) - explained.T @ explained + drift.T @ drift)
            noise += variance * known["noise"]
        return JointPosterior(self.predict_targets(X, counted) @ shares[counted], covariance, noise)

    def _whitened(self, X: Array, target: int) -> tuple[Array, Array, Array]:
        """The law's coordinates of mixtures (m, k), and two matrices of which products of columns, times the process's
        variance, are the covariance that the rows explain, (n, m), and what the law's parameters add to it, (p, m)."""
        train, known = self.learned_["X"], self.learned_["targets"][target]
        seen, lower, spanned, drift = self._factors(target)
        z = np.sqrt(self.law_.help(X, target))
        explained = solve_triangular(lower, (matern(z, seen, known["size"]) * known["root"]).T, lower=True)
        if not spanned.shape[1]:
            return z, explained, np.zeros((0, len(X)))
        trend = self.law_.tangent(X, target) / (self.law_.learned_["scale"][target] * np.sqrt(len(train)))
        left = trend @ known["back"] - explained.T @ spanned
        return z, explained, solve_triangular(drift, left.T, lower=True)

    def _factors(self, target: int) -> tuple[Array, Array, Array, Array]:
        """The rows in the law's coordinates (n, k), and Cholesky factors: of their covariance (n, n), of what the law's
        free directions span in its units (n, p), and of that span's products (p, p). Made once a fit."""
        known, train = self.learned_["targets"][target], self.learned_["X"]
        kept = self.__dict__.setdefault("_factored", {})
        if target not in kept or kept[target][0] is not known:
            root = known["root"]
            seen = np.sqrt(self.law_.help(train, target))
            kernel = root[:, None] * matern(seen, seen, known["size"]) * root[None, :]
            kernel[np.diag_indices_from(kernel)] += known["noise"]
            lower = cholesky(kernel, lower=True)
            spanned = solve_triangular(lower, known["basis"], lower=True)
            drift = cholesky(spanned.T @ spanned, lower=True) if spanned.shape[1] else np.zeros((0, 0))
            kept[target] = known, (seen, lower, spanned, drift)
        return kept[target][1]


class BoostedLaw(CorrectedLaw):
    """Saturation law + LightGBM on its residuals, small trees with strong shrinkage; sees the weights and the law."""

    def __init__(self, rounds: int = 150, learning_rate: float = 0.05, seed: int = 0) -> None:
        super().__init__(seed)
        self.rounds, self.learning_rate = rounds, learning_rate

    def _correct(self, law: Any, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
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
