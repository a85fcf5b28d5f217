"""Regressors of the losses that n-gram counts predict."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor
from regmix_pipeline.regression.laws.corrected import BoostedLaw, GaussianProcessLaw

WIDTH = 100.0
"""Width of the prior of a straight line's parameters, in deviations of the losses: the data determine them."""


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
    """loss = a + b m(w), b >= 0, where m(w) is the loss that n-gram counts predict (see `NgramEvidence.losses`).

    Args:
        evidence: the counts; its domains are the columns of X, its targets those of y, in order.
    """

    def __init__(self, evidence: NgramEvidence | None = None) -> None:
        self.evidence = evidence

    @classmethod
    def of_counts(cls, evidence: NgramEvidence) -> Self:
        """The losses of the counts themselves, a = 0 and b = 1: no proxy was measured."""
        law, targets = cls(evidence), len(evidence.targets)
        zero, one = np.zeros(targets), np.ones(targets)
        law.n_features_in_, law.targets_, law.single_ = len(evidence.domains), targets, False
        law.learned_ = {"centre": zero, "level": zero, "slope": one}
        return law

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        predicted = self.given.losses(X)
        share = (sample_weight / sample_weight.sum())[:, None]
        centre, level = (share * predicted).sum(axis=0), (share * Y).sum(axis=0)
        spread = np.sqrt((share * (predicted - centre) ** 2).sum(axis=0))
        slope = (share * (predicted - centre) * (Y - level)).sum(axis=0) / np.maximum(spread**2, 1e-12)
        scale = np.sqrt((share * (Y - level) ** 2).sum(axis=0))
        middle = (share * X).sum(axis=0)
        return {
            "centre": centre,
            "level": level,
            "slope": np.maximum(slope, 0.0),
            "spread": np.maximum(spread, 1e-9),
            "scale": np.where(scale > 0, scale, 1.0),
            "relevance": np.array([-self.given.gradient(middle / middle.sum(), name) for name in self.given.targets]),
        }

    def _predict(self, X: Array, columns: Columns) -> Array:
        known = self.learned_
        predicted = self._counted(X, columns)
        return known["level"][columns] + known["slope"][columns] * (predicted - known["centre"][columns])

    def _counted(self, X: Array, columns: Columns) -> Array:
        return self.given.losses(X, [self.given.targets[j] for j in columns])

    def tangent(self, X: Array, target: int) -> Array:
        """What a change of a and b by the width of their prior does to one target's prediction, (m, 2)."""
        known = self.learned_
        centred = (self._counted(X, np.array([target]))[:, 0] - known["centre"][target]) / known["spread"][target]
        return known["scale"][target] * WIDTH * np.column_stack([np.ones(len(X)), centred])

    def help(self, X: Array, target: int) -> Array:
        """What each domain contributes to one target's tokens around the mean mixture, (m, d)."""
        return X * self.learned_["relevance"][target]


class NgramProcess(_OfEvidence, GaussianProcessLaw):
    """The line of n-gram counts as the trend of a Gaussian process: what counts do not explain is learned from the
    proxies.

    Args:
        evidence: as of `NgramLaw`.
        seed: of the rows that length scale and noise are chosen on, where there are many.
    """

    def __init__(self, evidence: NgramEvidence | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        self.evidence = evidence

    def new_law(self) -> NgramLaw:
        return NgramLaw(self.evidence)


class BoostedNgrams(_OfEvidence, BoostedLaw):
    """The line of n-gram counts + LightGBM on its residuals.

    Args:
        evidence: as of `NgramLaw`.
        rounds, learning_rate, seed: of the trees.
    """

    def __init__(
        self, evidence: NgramEvidence | None = None, rounds: int = 150, learning_rate: float = 0.05, seed: int = 0
    ) -> None:
        super().__init__(rounds, learning_rate, seed)
        self.evidence = evidence

    def new_law(self) -> NgramLaw:
        return NgramLaw(self.evidence)
