"""Runs of a second model size: by how much the losses of each target spread more or less over mixtures there.

A regressor of the smaller size ranks the mixtures of each target well, and a weighted objective badly where the spread
of each target's losses grows or shrinks with the model. With s the logarithm of a size over the proxies', and f_t the
regressor of target t:

    L_t(w; s) = m_t exp(r_t s) + exp(g_t s) (f_t(w) - m_t)

m_t is the mean of f_t over the mixtures of the smaller size. A level r_t and a slope g_t move for every target; with
one g for all targets no mixture is ranked otherwise than by f. That single domains come to help more or less as models
grow is counted as an error and not fitted: over a short distance it is far too small to be seen in a few runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.estimator import Array, to_arrays, to_lists
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.saturation import SaturationLaw

SINGLE, SLOPES = "single size", "slopes"
"""The regressor of the smaller size as it is, and a slope for every target."""


@dataclass(frozen=True)
class ModelSize:
    """A model and the length of its training. Tokens are None where nobody said."""

    parameters: float
    tokens: float | None = None

    def over(self, other: ModelSize) -> float:
        """The logarithm of this size over another: of the parameters, and of the tokens where both are known.

        >>> round(ModelSize(1e9, 1e10).over(ModelSize(1e6, 1e8)), 3)
        11.513
        """
        found = float(np.log(self.parameters / other.parameters))
        if self.tokens is not None and other.tokens is not None:
            found += float(np.log(self.tokens / other.tokens))
        return found


@dataclass(frozen=True)
class SizeRuns:
    """Runs of one other size.

    Attributes:
        size: their model and training.
        weights: mixtures, (m, d), over the regressor's domains.
        losses: nats per token, (m, T), over its targets, mean over seeds.
    """

    size: ModelSize
    weights: Array
    losses: Array


@dataclass(frozen=True)
class SizeScore:
    """How well a law predicts the objective's differences of mixtures that it did not see at a size.

    Attributes:
        law: `SINGLE` or `SLOPES`.
        correlation: of predicted and measured differences within held-out folds.
        error: mean squared error of the differences, as a share of their variance.
        gain: by how much that is below the single size's error.
        gain_error: standard error of the gain over mixtures.
    """

    law: str
    correlation: float
    error: float
    gain: float
    gain_error: float


@dataclass(frozen=True)
class SizeLaw:
    """What moves with size, per unit of the logarithm of size.

    Attributes:
        base: the size of the regressor.
        largest: logarithm of the largest size that was trained, over the base.
        used: `SINGLE` or `SLOPES`.
        sure: probability that slopes differ between targets, by more than slopes do along the way to a larger size.
        scores: of both laws.
        middle: mean of each target's predictions over the mixtures of the base size, (T,).
        level: rate at which that falls, (T,).
        slope: logarithm of the spread's growth, (T,); the same for all targets where `SINGLE` is used.
        draws: slopes and changes of domains' help that are as likely, (B, T + d).
    """

    base: ModelSize
    largest: float
    used: str
    sure: float
    scores: tuple[SizeScore, ...]
    middle: Array
    level: Array
    slope: Array
    draws: Array

    def moved(self, losses: Array, size: ModelSize) -> Array:
        """Losses (n, T) at the base size, as they would be at another size."""
        return self._moved(losses, self.slope, size.over(self.base))

    def scale(self, size: ModelSize) -> Array:
        """By how much the targets' losses spread more at a size than at the base, (T,)."""
        return np.exp(self.slope * size.over(self.base))

    def growth(self, fitted: FittedRegressor, size: ModelSize, target_weights: Mapping[str, float]) -> float:
        """By how much the objective's differences between the mixtures measured are larger at a size."""
        share, base = fitted.shares(target_weights), fitted.predict(fitted.weights)
        return float((self.moved(base, size) @ share).std() / max((base @ share).std(), 1e-12))

    def differences(
        self, fitted: FittedRegressor, size: ModelSize, weights: Array, target_weights: Mapping[str, float]
    ) -> Array:
        """The objective of mixtures (m, d) minus that of the first, at a size, by every law that is drawn, (B, m).

        Args:
            fitted: the regressors of the base size.
            size: what is asked for.
            weights: mixtures.
            target_weights: target -> weight in the objective.
        """
        share, at_base = fitted.shares(target_weights), fitted.predict(weights)
        targets, s = len(share), size.over(self.base)
        found = np.empty((len(self.draws), len(weights)))
        for row, draw in enumerate(self.draws):
            change = _helped(fitted, weights, draw[targets:] * s, targets)
            found[row] = self._moved(at_base + change, draw[:targets], s) @ share
        return found - found[:, :1]

    def _moved(self, losses: Array, slope: Array, s: float) -> Array:
        return self.middle * np.exp(self.level * s) + np.exp(slope * s) * (losses - self.middle)

    def as_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return to_lists(asdict(self))

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`."""
        kept = to_arrays(dict(content))
        scores = tuple(SizeScore(**each) for each in kept["scores"])
        return cls(**{**kept, "base": ModelSize(**kept["base"]), "scores": scores})


def _helped(fitted: FittedRegressor, weights: Array, change: Array, targets: int) -> Array:
    """What the saturation law beside the regressors predicts with its helps changed, minus what it predicts, (m, T)."""
    law = fitted.models.get("saturation")
    if not isinstance(law, SaturationLaw) or not change.any():
        return np.zeros((len(weights), targets))
    d = law.n_features_in_
    other = SaturationLaw().restore(law.state())
    other.learned_["theta"][:, 2 : 2 + d] += change
    return other.predict(weights).reshape(len(weights), -1) - law.predict(weights).reshape(len(weights), -1)
