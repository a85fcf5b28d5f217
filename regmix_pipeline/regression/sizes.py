"""Runs of a second model size: how far each target's losses spread there, and which domains come to matter more.

A regressor of the smaller size ranks the mixtures of each target well, and a weighted objective badly where the spread
of each target's losses grows or shrinks with the model. A law in (N, D, w) with few parameters that move with size
says how; all others are shared with the regressor of the smaller size. With s the logarithm of a size over the
proxies', f_t the regressor and S_t the saturation law beside it:

    L_t(w; s) = m_t exp(r_t s) + exp(g_t s) (f_t(w) - m_t + S_t(w; k + h s) - S_t(w; k))

m_t is the mean of f_t over the mixtures of the smaller size. A level r_t and a slope g_t move for every target, and a
help h_j for every domain, shared by all targets. With h = 0 these are slopes alone, and with one g for all targets no
mixture is ranked otherwise than by f.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.estimator import Array, to_arrays, to_lists
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.saturation import SaturationLaw

REACH = 2.0
"""Times the distance in size that was trained, up to which slopes and helps are followed: what is learned over a short
distance is mostly error over a long one (`benchmarks/size_law.py`). Chances count all of what is open beyond."""
SINGLE, SLOPES, LAW = "single size", "slopes", "law of size"
"""The regressor of the smaller size as it is; a slope for every target; and helps of domains that move as well."""


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
    """How well a member of the family predicts the objective's differences of mixtures that it did not see at a size.

    Attributes:
        law: `SINGLE`, `SLOPES` or `LAW`.
        correlation: of predicted and measured differences within held-out folds.
        error: mean squared error of the differences, as a share of their variance.
        gain: by how much that is below the single size's error.
        gain_error: standard error of the gain over mixtures.
        widths: prior deviations of slopes and helps with the least error.
    """

    law: str
    correlation: float
    error: float
    gain: float
    gain_error: float
    widths: tuple[float, float]


@dataclass(frozen=True)
class SizeLaw:
    """What moves with size, per unit of the logarithm of size.

    Attributes:
        base: the size of the regressor.
        largest: logarithm of the largest size that was trained, over the base.
        used: which member of the family held-out folds chose.
        scores: of every member.
        middle: mean of each target's predictions over the mixtures of the base size, (T,).
        level: rate at which that falls, (T,).
        slope: logarithm of the spread's growth, (T,).
        help: change of each domain's help, (d,).
        draws: by how much slopes and helps may as likely be others, (B, T + d).
    """

    base: ModelSize
    largest: float
    used: str
    scores: tuple[SizeScore, ...]
    middle: Array
    level: Array
    slope: Array
    help: Array
    draws: Array

    def moved(self, fitted: FittedRegressor, weights: Array, losses: Array, size: ModelSize) -> Array:
        """Losses (n, T) of mixtures (n, d) at the base size, as they would be at another size."""
        reach = self.reach(size)
        change = _helped(fitted, weights, self.help * reach, len(self.middle))
        return self._moved(losses + change, self.slope * reach, size)

    def scale(self, size: ModelSize) -> Array:
        """By how much the targets' losses spread more at a size than at the base, (T,)."""
        return np.exp(self.slope * self.reach(size))

    def reach(self, size: ModelSize) -> float:
        """The logarithm of a size over the base, at most `REACH` times that of the largest size trained."""
        return min(size.over(self.base), REACH * self.largest)

    def growth(self, fitted: FittedRegressor, size: ModelSize, target_weights: Mapping[str, float]) -> float:
        """By how much the objective's differences between the mixtures measured are larger at a size."""
        share, base = fitted.shares(target_weights), fitted.predict(fitted.weights)
        moved = self.moved(fitted, fitted.weights, base, size)
        return float((moved @ share).std() / max((base @ share).std(), 1e-12))

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
        targets, reach, s = len(share), self.reach(size), size.over(self.base)
        found = np.empty((len(self.draws), len(weights)))
        for row, draw in enumerate(self.draws):
            # What is open grows all the way.
            change = _helped(fitted, weights, self.help * reach + draw[targets:] * s, targets)
            found[row] = self._moved(at_base + change, self.slope * reach + draw[:targets] * s, size) @ share
        return found - found[:, :1]

    def _moved(self, losses: Array, growth: Array, size: ModelSize) -> Array:
        return self.middle * np.exp(self.level * size.over(self.base)) + np.exp(growth) * (losses - self.middle)

    def as_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return to_lists(asdict(self))

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`."""
        kept = to_arrays(dict(content))
        scores = tuple(SizeScore(**{**each, "widths": tuple(each["widths"])}) for each in kept["scores"])
        return cls(**{**kept, "base": ModelSize(**kept["base"]), "scores": scores})


def _helped(fitted: FittedRegressor, weights: Array, change: Array, targets: int) -> Array:
    law = saturation_of(fitted)
    if law is None or not change.any():
        return np.zeros((len(weights), targets))
    return helped(law, weights, change)


def saturation_of(fitted: FittedRegressor) -> SaturationLaw | None:
    """The saturation law beside the chosen regressors, whose helps can move; None without one."""
    law = fitted.models.get("saturation")
    return law if isinstance(law, SaturationLaw) else None


def helped(law: SaturationLaw, weights: Array, change: Array) -> Array:
    """What the law predicts with its helps changed, minus what it predicts, (m, T)."""
    d = law.n_features_in_
    other = SaturationLaw().restore(law.state())
    other.learned_["theta"][:, 2 : 2 + d] += change
    return other.predict(weights).reshape(len(weights), -1) - law.predict(weights).reshape(len(weights), -1)
