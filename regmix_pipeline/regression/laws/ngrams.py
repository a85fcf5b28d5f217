"""Regressors of the losses that n-gram counts predict."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.optimize import nnls

from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor
from regmix_pipeline.regression.laws.corrected import BoostedLaw, GaussianProcessLaw
from regmix_pipeline.regression.laws.worth import DECAY, worth

WIDTH = 100.0
"""Width of the prior of the lines' parameters, in deviations of the losses: the data determine them."""
DECAYS = (1.0, 4.0, DECAY)
"""Repetitions after which a token's worth has fallen to 1/e that are tried: the last is that of large models, and small
ones learn less from what they have seen."""


class _OfEvidence:
    """What regressors of n-gram evidence share: it is given, and not saved with the fit."""

    evidence: NgramEvidence | None

    def parameters(self) -> dict[str, Any]:
        """All of them but the evidence."""
        return {name: value for name, value in super().parameters().items() if name != "evidence"}  # type: ignore

    @property
    def given(self) -> NgramEvidence:
        """The evidence. Raises ValueError without one."""
        if self.evidence is None:
            raise ValueError("a regressor of n-gram counts needs them: set its parameter evidence")
        return self.evidence


class NgramLaw(_OfEvidence, MixtureRegressor):
    """loss = a + b m(v / |v|) - c log |v|, with b and c not negative.

    m is the loss that n-gram counts predict (`NgramEvidence.losses`). v is what the weights are worth where the run
    repeats data (`repetition.worth`), |v| its sum: the share of the run's tokens that bring something new. Without
    repetition v is the mixture itself and |v| is 1. How fast worth falls is chosen among `DECAYS` by the error on
    mixtures left out, target by target.

    Args:
        evidence: the counts; its domains are the columns of X, its targets those of y, in order.
        epochs_per_weight: how often the runs see each domain at weight 1, length d; None for no repetition.
    """

    def __init__(self, evidence: NgramEvidence | None = None, epochs_per_weight: list[float] | None = None) -> None:
        self.evidence, self.epochs_per_weight = evidence, epochs_per_weight

    @classmethod
    def of_counts(cls, evidence: NgramEvidence) -> Self:
        """The losses of the counts themselves, a = 0 and b = 1: no proxy was measured."""
        law, targets = cls(evidence), len(evidence.targets)
        law.n_features_in_, law.targets_, law.single_ = len(evidence.domains), targets, False
        law.learned_ = {
            "decay": np.full(targets, DECAYS[-1]),
            "level": np.zeros(targets),
            "centre": np.zeros((targets, 2)),
            "slope": np.tile([1.0, 0.0], (targets, 1)),
        }
        return law

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        share = sample_weight / sample_weight.sum()
        fits = {decay: self._lines(X, Y, share, decay) for decay in (DECAYS if self._repeats(X) else DECAYS[-1:])}
        errors = {decay: np.square(lines["errors"]).sum(axis=0) for decay, lines in fits.items()}
        best = [min(fits, key=lambda decay: errors[decay][j]) for j in range(Y.shape[1])]
        middle = share @ X
        learned = {
            name: np.array([fits[decay][name][j] for j, decay in enumerate(best)])
            for name in ("level", "centre", "slope", "spread")
        }
        scale = np.sqrt(share @ (Y - learned["level"]) ** 2)
        return learned | {
            "decay": np.array(best),
            "scale": np.where(scale > 0, scale, 1.0),
            "left_out": np.column_stack([Y[:, j] - fits[decay]["errors"][:, j] for j, decay in enumerate(best)]),
            "relevance": np.array([-self.given.gradient(middle / middle.sum(), name) for name in self.given.targets]),
        }

    def _lines(self, X: Array, Y: Array, share: Array, decay: float) -> dict[str, Array]:
        """Weighted least squares of every target's losses on its features, slopes not negative: level (T,), centre,
        slope and spread of the features (T, 2), and the errors on the mixture left out (n, T)."""
        root, rows = np.sqrt(share), []
        for j, level in enumerate(share @ Y):
            features = self._features(X, j, decay)
            centre = share @ features
            features = features - centre
            slope = nnls(features * root[:, None], (Y[:, j] - level) * root)[0]
            used = np.column_stack([np.ones(len(X)), features[:, slope > 0]]) * root[:, None]
            leverage = np.square(np.linalg.qr(used)[0]).sum(axis=1)
            left_out = (Y[:, j] - level - features @ slope) / np.maximum(1 - leverage, 1e-3)
            spread = np.maximum(np.sqrt(share @ features**2), 1e-9)
            rows.append((level, centre, slope, spread, left_out))
        found = dict(
            zip(("level", "centre", "slope", "spread", "errors"), map(np.array, zip(*rows, strict=True)), strict=True)
        )
        return found | {"errors": found["errors"].T}

    def _repeats(self, X: Array) -> bool:
        return self.epochs_per_weight is not None and bool((X * self.epochs_per_weight > 1).any())

    def _features(self, X: Array, target: int, decay: float) -> Array:
        """The counts' loss of what the weights are worth, and minus the logarithm of how much that is, (m, 2)."""
        value = X / X.sum(axis=1, keepdims=True)
        if self.epochs_per_weight is not None:
            value = worth(value, np.asarray(self.epochs_per_weight), decay)
        return np.column_stack(
            [self.given.losses(value, [self.given.targets[target]])[:, 0], -np.log(value.sum(axis=1))]
        )

    def _predict(self, X: Array, columns: Columns) -> Array:
        known = self.learned_
        return np.column_stack([known["level"][j] + self._centred(X, j) @ known["slope"][j] for j in columns])

    def _centred(self, X: Array, target: int) -> Array:
        """The features at the decay that was learned, from their centre, (m, 2)."""
        known = self.learned_
        return self._features(X, target, float(known["decay"][target])) - known["centre"][target]

    def tangent(self, X: Array, target: int) -> Array:
        """What changes of a, b and c by the width of their prior do to one target's prediction, (m, 3)."""
        known = self.learned_
        centred = self._centred(X, target) / known["spread"][target]
        return known["scale"][target] * WIDTH * np.column_stack([np.ones(len(X)), centred])

    def help(self, X: Array, target: int) -> Array:
        """What each domain contributes to one target's tokens around the mean mixture, (m, d)."""
        return X * self.learned_["relevance"][target]


class NgramProcess(_OfEvidence, GaussianProcessLaw):
    """The line of n-gram counts as the trend of a Gaussian process: what counts do not explain is learned from the
    proxies.

    Args:
        evidence, epochs_per_weight: as of `NgramLaw`.
        seed: of the rows that length scale and noise are chosen on, where there are many.
    """

    def __init__(
        self, evidence: NgramEvidence | None = None, epochs_per_weight: list[float] | None = None, seed: int = 0
    ) -> None:
        super().__init__(seed)
        self.evidence, self.epochs_per_weight = evidence, epochs_per_weight

    def new_law(self) -> NgramLaw:
        return NgramLaw(self.evidence, self.epochs_per_weight)


class BoostedNgrams(_OfEvidence, BoostedLaw):
    """The line of n-gram counts + LightGBM on its residuals.

    Args:
        evidence, epochs_per_weight: as of `NgramLaw`.
        rounds, learning_rate, seed: of the trees.
    """

    def __init__(
        self,
        evidence: NgramEvidence | None = None,
        epochs_per_weight: list[float] | None = None,
        rounds: int = 150,
        learning_rate: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(rounds, learning_rate, seed)
        self.evidence, self.epochs_per_weight = evidence, epochs_per_weight

    def new_law(self) -> NgramLaw:
        return NgramLaw(self.evidence, self.epochs_per_weight)
