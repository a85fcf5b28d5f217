"""Mixup for regression as wrappers: rows are mixed inside `fit`, so never across folds.

A convex combination of two mixtures is a mixture, which makes Mixup natural here; whether the combination of their
losses is anywhere near its loss is another matter: see docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.catalogue import regressor
from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor, unfitted

SHAPE = 2.0
"""Both parameters of the Beta distribution that mixing shares are drawn from (C-Mixup's choice for tables)."""


class CMixup(MixtureRegressor):
    """C-Mixup (Yao et al., NeurIPS 2022, arXiv 2210.05775): mix rows whose losses are close.

    Args:
        base: the regressor that is fitted to measured and mixed rows.
        bandwidth: of the Gaussian kernel on the distance between standardised losses, in deviations (root mean square
            over targets); partners are drawn in proportion to it.
        copies: mixed rows per measured row.
        share: weight of all mixed rows together, relative to the measured ones.
        seed: of partners and mixing shares.
    """

    def __init__(
        self, base: MixtureRegressor, bandwidth: float = 0.3, copies: int = 2, share: float = 0.5, seed: int = 0
    ) -> None:
        self.base, self.bandwidth, self.copies, self.share, self.seed = base, bandwidth, copies, share, seed

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        generator = np.random.Generator(np.random.PCG64(self.seed))
        kernel = np.exp(-0.5 * (_loss_distances(Y) / self.bandwidth) ** 2)
        self.base_ = self._fit_mixed(X, Y, sample_weight, kernel, generator)
        return {"mixed": int(self.copies * len(X))}

    def _fit_mixed(
        self, X: Array, Y: Array, weight: Array, kernel: Array, generator: np.random.Generator
    ) -> MixtureRegressor:
        """The base fitted to measured rows and rows mixed with partners drawn in proportion to ``kernel`` (n, n)."""
        mixed = mixed_rows(X, Y, weight, kernel, self.copies, generator)
        if mixed is None:
            return unfitted(self.base).fit(X, Y, weight)
        more = mixed[2] * (self.share * weight.sum() / mixed[2].sum())
        return unfitted(self.base).fit(
            np.concatenate([X, mixed[0]]), np.concatenate([Y, mixed[1]]), np.concatenate([weight, more])
        )

    def _predict(self, X: Array, columns: Columns) -> Array:
        return self.base_.predict_targets(X, columns)

    def state(self) -> dict[str, Any]:
        kept = super().state()
        own = {key: value for key, value in kept["parameters"].items() if key != "base"}
        return {**kept, "parameters": own, "base": self.base_.state()}

    def restore(self, state: dict[str, Any]) -> Self:
        super().restore(state)
        self.base_ = unfitted(self.base).restore(state["base"])
        return self


class RCMixup(CMixup):
    """RC-Mixup (Hwang et al., KDD 2024, arXiv 2405.17938): C-Mixup among rows that look clean, for noisy losses.

    Rounds alternate between fitting and telling clean rows from noisy ones: a row is noisy when its residual is above
    ``cutoff`` robust deviations on any target. Noisy rows are dropped, partners and all, and looked at again next
    round.

    Args:
        cutoff: robust standard deviations (1.4826 x median absolute residual).
        rounds: of fitting and cleaning.
    """

    def __init__(
        self,
        base: MixtureRegressor,
        bandwidth: float = 0.3,
        copies: int = 2,
        share: float = 0.5,
        seed: int = 0,
        cutoff: float = 4.0,
        rounds: int = 2,
    ) -> None:
        super().__init__(base, bandwidth, copies, share, seed)
        self.cutoff, self.rounds = cutoff, rounds

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        clean = np.ones(len(X), dtype=bool)
        fitted = unfitted(self.base).fit(X, Y, sample_weight)
        for number in range(self.rounds):
            residual = np.abs(Y - fitted.predict_targets(X, np.arange(Y.shape[1])))
            scale = 1.4826 * np.median(residual, axis=0)
            found = (residual <= self.cutoff * np.maximum(scale, 1e-12)).all(axis=1) | (scale <= 1e-12).all()
            if found.sum() < max(len(X) // 2, 2):
                break
            clean = found & (sample_weight > 0) if (found & (sample_weight > 0)).sum() > 1 else clean
            generator = np.random.Generator(np.random.PCG64([self.seed, number]))
            kernel = np.exp(-0.5 * (_loss_distances(Y[clean]) / self.bandwidth) ** 2)
            fitted = self._fit_mixed(X[clean], Y[clean], sample_weight[clean], kernel, generator)
        self.base_ = fitted
        return {"dropped": int((~clean).sum())}


class MixRL(CMixup):
    """MixRL (Hwang & Whang 2021, arXiv 2106.03374): learn by reinforcement which neighbours are worth mixing.

    A policy says for each kind of pair (by distance of mixtures and distance of losses, in quantiles) with what
    probability it is mixed. REINFORCE raises the probabilities of kinds that lower the error on inner held-out rows.

    Args:
        kinds: quantiles of each distance.
        episodes: trials of the policy.
        rate: step of the policy's logits per episode.
    """

    def __init__(
        self,
        base: MixtureRegressor,
        bandwidth: float = 0.3,
        copies: int = 2,
        share: float = 0.5,
        seed: int = 0,
        kinds: int = 3,
        episodes: int = 12,
        rate: float = 1.0,
    ) -> None:
        super().__init__(base, bandwidth, copies, share, seed)
        self.kinds, self.episodes, self.rate = kinds, episodes, rate

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        generator = np.random.Generator(np.random.PCG64(self.seed))
        kind = self._kinds(X, Y)
        logits = np.zeros(self.kinds**2)
        held = generator.permutation(len(X)) % 4 == 0
        scale = np.maximum(Y.std(axis=0), 1e-12)
        if 2 <= held.sum() <= len(X) - 2 and sample_weight[~held].sum() > 0 and sample_weight[held].sum() > 0:
            rewards: list[float] = []
            for _ in range(self.episodes):
                chance = 1 / (1 + np.exp(-logits))
                action = generator.random(len(logits)) < chance
                part = np.ix_(~held, ~held)
                model = self._fit_mixed(
                    X[~held], Y[~held], sample_weight[~held], action[kind[part]].astype(float), generator
                )
                error = (model.predict_targets(X[held], np.arange(Y.shape[1])) - Y[held]) / scale
                rewards.append(-float(np.log(np.average((error**2).mean(axis=1), weights=sample_weight[held]) + 1e-9)))
                spread = np.std(rewards) or 1.0
                # The gradient of log policy, times how much better than usual the episode went.
                logits += self.rate * (rewards[-1] - np.mean(rewards)) / spread * (action - chance)
        chance = 1 / (1 + np.exp(-logits))
        self.base_ = self._fit_mixed(X, Y, sample_weight, chance[kind], generator)
        return {"policy": chance}

    def _kinds(self, X: Array, Y: Array) -> Columns:
        """The kind of every pair of rows, (n, n), from 0 to kinds^2 - 1."""
        near = np.sqrt(np.maximum(2 - 2 * np.sqrt(X) @ np.sqrt(X).T, 0.0))
        bins = np.arange(1, self.kinds) / self.kinds
        by_mixture = np.digitize(near, np.quantile(near, bins))
        losses = _loss_distances(Y)
        return by_mixture * self.kinds + np.digitize(losses, np.quantile(losses, bins))


AUGMENTATIONS: Mapping[str, type[CMixup]] = {"c_mixup": CMixup, "rc_mixup": RCMixup, "mixrl": MixRL}


def augmented(name: str) -> MixtureRegressor:
    """A new, unfitted regressor, such as ``c_mixup+saturation`` or ``saturation`` alone."""
    wrapper, _, base = name.rpartition("+")
    return AUGMENTATIONS[wrapper](regressor(base)) if wrapper in AUGMENTATIONS else regressor(name)


def _loss_distances(Y: Array) -> Array:
    """Root mean square distance between rows' standardised losses, (n, n)."""
    scale = Y.std(axis=0)
    Z = (Y - Y.mean(axis=0)) / np.where(scale > 1e-12, scale, 1.0)
    squared = (Z**2).sum(axis=1)[:, None] + (Z**2).sum(axis=1)[None] - 2 * Z @ Z.T
    return np.sqrt(np.maximum(squared, 0.0) / Y.shape[1])


def mixed_rows(
    X: Array, Y: Array, weight: Array, kernel: Array, copies: int, generator: np.random.Generator
) -> tuple[Array, Array, Array] | None:
    """Rows mixed with partners drawn in proportion to ``kernel``: weights, losses and row weights; None without pairs.

    Args:
        X, Y, weight: (n, d), (n, T), (n,).
        kernel: (n, n), not negative; a row is never its own partner.
        copies: mixed rows per row.
    """
    chance = kernel * (weight > 0)[None, :] * (weight > 0)[:, None]
    np.fill_diagonal(chance, 0.0)
    total = chance.sum(axis=1)
    able = np.flatnonzero(total > 0)
    if not len(able) or copies < 1:
        return None
    first = np.repeat(able, copies)
    cumulative = np.cumsum(chance[first] / total[first, None], axis=1)
    partner = np.minimum((cumulative < generator.random((len(first), 1))).sum(axis=1), len(X) - 1)
    share = generator.beta(SHAPE, SHAPE, size=(len(first), 1))
    return (
        share * X[first] + (1 - share) * X[partner],
        share * Y[first] + (1 - share) * Y[partner],
        np.sqrt(weight[first] * weight[partner]),
    )
