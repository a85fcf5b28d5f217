"""What is minimised: the weighted mean of targets' losses, or the worst of them against the natural mixture's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.guardrails import Guardrails
from regmix_pipeline.search.worst_belief import worst_of
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]
CAUTION = 1.0
"""Posterior deviations that a mixture's predicted loss is raised by in a search."""


@dataclass(frozen=True)
class Objective:
    """A function of mixtures to minimise, in nats per token.

    Attributes:
        fitted: the regressors.
        target_weights: target -> weight.
        natural: the mixture that worst-case losses are compared with, (d,).
        worst_case: the largest weighted difference instead of the weighted mean.
        guardrails: bounds of targets' predicted losses that the answer has to keep; None: none.
    """

    fitted: FittedRegressor
    target_weights: Mapping[str, float]
    natural: Array
    worst_case: bool = False
    guardrails: Guardrails | None = None

    @classmethod
    def of(
        cls, fitted: FittedRegressor, target_weights: Mapping[str, float], natural: Array, settings: SearchSettings
    ) -> Objective:
        """What a search's settings ask for: weighted mean or worst case, under their guardrails.

        Raises:
            MixtureError: a guardrail names a target that the regressors do not predict.
        """
        guardrails = Guardrails.of(fitted, settings.guardrails, natural)
        return cls(fitted, target_weights, natural, settings.objective == "worst_case", guardrails)

    def keeps(self, weights: Array) -> NDArray[np.bool_]:
        """Which mixtures (m, d) keep every guardrail, (m,)."""
        return np.ones(len(weights), dtype=bool) if self.guardrails is None else self.guardrails.keeps(weights)

    def __call__(self, weights: Array, regressor: str | None = None) -> Array:
        """Values of mixtures (m, d) -> (m,), by the chosen regressors or by one of them."""
        if not self.worst_case:
            return self.fitted.objective(weights, self.target_weights, regressor)
        share = self.fitted.shares(self.target_weights)
        counted = np.flatnonzero(share)
        losses = np.column_stack([self._target(weights, int(j), regressor) for j in counted])
        natural = np.concatenate([self._target(self.natural[None], int(j), regressor) for j in counted])
        return worst_of(losses, natural, share[counted])

    def cautious(self, weights: Array) -> Array:
        """Values of mixtures plus `CAUTION` deviations of the mean loss, (m, d) -> (m,): what a search minimises.

        The bare minimum of a flexible regressor is often one that only errors make. The pure law has its share in the
        values where the fit gives it one.

        Deviations are those between fits of resampled rows where there are such, otherwise the process's: with few rows
        it takes for known what its law's parameters and its own length scale leave open.
        """
        first, *others = self.fitted.searched
        if not others:
            deviation = first.objective_deviation(weights, self.target_weights)
            return self._searched(first, weights) + CAUTION * deviation
        values = np.array([self._searched(near, weights) for near in (first, *others)])
        return values.mean(axis=0) + CAUTION * values.std(axis=0)

    def _searched(self, fitted: FittedRegressor, weights: Array) -> Array:
        """Values (m,) by one of the fits that a search minimises the mean of, with the pure law's share."""
        near, share, law = replace(self, fitted=fitted), fitted.law_share, fitted.law
        values = near(weights)
        return values if not share or law is None else (1 - share) * values + share * near(weights, law)

    def _target(self, weights: Array, column: int, regressor: str | None) -> Array:
        return self.fitted.objective(weights, {self.fitted.targets[column]: 1.0}, regressor)

    @staticmethod
    def with_gradient(weights: Array, of: Callable[[Array], Array]) -> tuple[float, Array]:
        """A function's value and derivatives at one mixture (d,), by differences of one batch of values."""
        value, gradient = with_derivatives(weights, of)
        return float(value), gradient


def with_derivatives(weights: Array, of: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The same for a function of one or several values a mixture: its values () or (g,), derivatives (d,) or (d, g)."""
    step, d = 1e-5, len(weights)
    back = np.minimum(weights, step)  # weights stay at or above zero
    values = of(np.concatenate([weights[None], weights + np.eye(d) * step, weights - np.diag(back)]))
    width = step + back
    return values[0], (values[1 : d + 1] - values[d + 1 :]) / (width if values.ndim == 1 else width[:, None])
