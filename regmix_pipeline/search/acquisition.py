"""Which mixtures to train next, by the Gaussian process's joint belief about the objective, and what the best of them
could still gain.

Three rules choose a batch. ``thompson`` draws whole functions from the belief, and takes the best mixture of each
(Thompson 1933). ``lower_bound`` takes the mixture with the least mean minus some deviations, and lowers the deviations
around it before it takes the next (Srinivas et al., arXiv 0912.3995; Desautels et al., JMLR 2014). ``regret_reduction``
takes the mixture whose measurement is expected to lower the best predicted loss most (knowledge gradient, Frazier et
al. 2009).

The expected regret of a decision is what it loses to the best mixture of a law fitted to a random reweighting of the
runs (the Bayesian bootstrap, Rubin 1981), on average: the most that perfect knowledge could still gain. The process's
own draws would say less than is lost where runs are few, because it takes parameters of its law that few runs leave
open for known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw, JointPosterior
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.search.candidates import FEW, best_measured, candidates_inside
from regmix_pipeline.search.guardrails import Guardrails
from regmix_pipeline.search.region import Region, distance_to_nearest, project_to_limits, rounded_inside
from regmix_pipeline.search.worst_belief import square_root, worst_belief, worst_of
from regmix_pipeline.study.settings.mixtures import RoundSettings

Array = NDArray[np.float64]
CANDIDATES = 3000
"""Mixtures drawn from all over the region, and as many near the decision and the best measured one."""
POOL = 1200
"""Of these, the mixtures that are compared: half have the least lower bounds, half are drawn from the others."""
OPTIMISM = 2.0
"""Posterior deviations below the mean where a lower bound lies."""
APART = 0.02
"""Hellinger distance below which a mixture counts as measured, or as chosen already."""
QUADRATURE = 5
"""Points of the expectation over a measurement's outcome."""
DRAWS = 24
"""Laws fitted for the expected regret."""
LARGE = 50_000
"""Weights of all runs, rows x domains, beyond which these laws are sought from the law of all rows, in its shape: each
from the start, they would take minutes."""


@dataclass(frozen=True)
class Pick:
    """A mixture to train next.

    Attributes:
        mixture: in multiples of the sampler's quantum.
        predicted: mean of the objective, nats per token.
        deviation: of that mean as believed before the batch, nats per token.
        worth: how far its lower bound lies below the decision's mean, nats per token, not negative.
    """

    mixture: Mixture
    predicted: float
    deviation: float
    worth: float


@dataclass(frozen=True)
class Regret:
    """What a decision may lose.

    Attributes:
        expected: against the best mixture, nats per token of a proxy.
        gain: expected gain of the decision over the natural mixture, nats per token.
        judged: whether enough mixtures inside the region were compared for the regret to mean something.
    """

    expected: float
    gain: float
    judged: bool

    @property
    def share(self) -> float:
        """Expected regret as a share of the expected gain; infinite without a gain."""
        return self.expected / self.gain if self.gain > 0 else (0.0 if self.expected <= 0 else float("inf"))


class Acquisition:
    """Mixtures inside a region, and what the Gaussian process believes of them.

    Args:
        fitted: the regressors; their Gaussian process is asked, or one that is fitted to their rows here.
        region: where mixtures may lie.
        objective: target -> share.
        chosen: the decision as it would be now, (d,).
        seed: same input and seed, same answers.
        guardrails: what a decision has to keep by the regressors' predictions; None: nothing.
        worst_against: the mixture (d,) that a worst case is compared with, where that is minimised; None: the mean is.
    """

    def __init__(
        self,
        fitted: FittedRegressor,
        region: Region,
        objective: Mapping[str, float],
        chosen: Array,
        seed: int,
        guardrails: Guardrails | None = None,
        worst_against: Array | None = None,
    ) -> None:
        self.fitted, self.region, self.worst_against = fitted, region, worst_against
        self.share = fitted.shares(objective)
        self.process = fitted.process or GaussianProcessLaw().fit(fitted.weights, fitted.losses)
        self.generator = np.random.Generator(np.random.PCG64(seed))
        best = best_measured(fitted, objective, region.allow(fitted.weights))[:1]
        centres = np.concatenate([chosen[None], best])
        found = candidates_inside(region, centres, CANDIDATES, self.generator)
        if guardrails is not None:
            found = found[guardrails.keeps(found)]
        self.enough = len(found) >= FEW
        self.pool = np.concatenate([self._compared(found), chosen[None]])
        """The mixtures that are compared, (at most POOL + 1, d); the decision is the last."""
        self.belief: JointPosterior = (
            self.process.joint_posterior(self.pool, self.share)
            if worst_against is None
            else worst_belief(self.process, self.pool, worst_against, self.share, self.generator)
        )

    def batch(self, count: int, quantum: int = 1, rule: str | None = None) -> list[Pick]:
        """Mixtures to train next, apart from each other and from those measured.

        Args:
            count: of mixtures; fewer are returned where the region holds no more.
            quantum: parts per million that weights are multiples of.
            rule: one of `RULES`; by default that of a study file.
        """
        fitted, belief, pool = self.fitted, self.belief, self.pool
        nearest = distance_to_nearest(pool, fitted.weights)
        next_one = RULES[rule or RoundSettings().rule](belief, self.generator)
        picks: list[Pick] = []
        taken = {Mixture.at(fitted.domains, row).id for row in fitted.weights}
        deviation = np.sqrt(_variance(belief.covariance))
        while len(picks) < count and (nearest >= APART).any():
            row = next_one(nearest >= APART)
            nearest = np.minimum(nearest, distance_to_nearest(pool, pool[[row]]))
            mixture = quantised(pool[row], self.region, quantum)
            if mixture.id in taken:
                continue
            taken.add(mixture.id)
            worth = max(float(belief.mean[-1] - belief.mean[row] + OPTIMISM * deviation[row]), 0.0)
            picks.append(Pick(mixture, float(belief.mean[row]), float(deviation[row]), worth))
        return picks

    def regret(self, natural: Array) -> Regret:
        """What the decision may lose against the best mixture.

        Args:
            natural: the mixture that its gain is counted from, (d,).
        """
        fitted, counted = self.fitted, np.flatnonzero(self.share)
        points = np.concatenate([self.pool, natural[None]])
        weights, losses = fitted.weights, fitted.losses
        of_all = self._law_of_all() if weights.size > LARGE else None
        regrets, gains = [], []
        for _ in range(DRAWS):
            weight = self.generator.exponential(size=len(weights))
            if of_all is None:
                law = SaturationLaw().fit(weights, losses[:, counted], weight)
            else:
                law = of_all.refitted(weights, losses, weight, counted)
            *_, at_chosen, at_natural = values = self._values(law.predict(points), law.predict)
            regrets.append(float(at_chosen - values[:-1].min()))
            gains.append(float(at_natural - at_chosen))
        return Regret(float(np.mean(regrets)), float(np.mean(gains)), self.enough)

    def _law_of_all(self) -> SaturationLaw:
        """The law of all rows: the process's own, where it is one of this kind."""
        law = self.process.law_
        return law if isinstance(law, SaturationLaw) else SaturationLaw().fit(self.fitted.weights, self.fitted.losses)

    def _compared(self, found: Array) -> Array:
        """Of candidates (m, d), those with the least lower bounds, and as many others."""
        if len(found) <= POOL:
            return found
        counted = np.flatnonzero(self.share)
        mean = self._values(self.process.predict_targets(found, counted), self._predict_counted)
        deviation = self.process.standard_deviation(found, counted, of_measurement=False) @ self.share[counted]
        order = np.argsort(mean - OPTIMISM * deviation, kind="stable")
        rest = self.generator.permutation(order[POOL // 2 :])[: POOL - POOL // 2]
        return found[np.concatenate([order[: POOL // 2], rest])]

    def _predict_counted(self, weights: Array) -> Array:
        return self.process.predict_targets(weights, np.flatnonzero(self.share))

    def _values(self, losses: Array, predict: Callable[[Array], Array]) -> Array:
        """The objective of losses of the counted targets, (m, T) -> (m,); ``predict`` gives those of other mixtures."""
        share = self.share[self.share > 0]
        if self.worst_against is None:
            return losses @ share
        return worst_of(losses, predict(self.worst_against[None])[0], share)


def quantised(weights: Array, region: Region, quantum: int) -> Mixture:
    """A mixture near ``weights`` that a proxy can execute: multiples of ``quantum`` where the limits allow it."""
    coarse = np.rint(weights * PARTS / quantum) * quantum / PARTS
    moved = project_to_limits((coarse / coarse.sum())[None], region.limits)[0]
    return rounded_inside(moved, region.limits)


Next = Callable[[NDArray[np.bool_]], int]
"""Given which rows are free, the next one."""


def _thompson(belief: JointPosterior, generator: np.random.Generator) -> Next:
    root = square_root(belief.covariance)

    def next_one(free: NDArray[np.bool_]) -> int:
        drawn = belief.mean + root @ generator.standard_normal(len(root))
        return int(np.where(free, drawn, np.inf).argmin())

    return next_one


def _lower_bound(belief: JointPosterior, generator: np.random.Generator) -> Next:
    return _one_after_the_other(belief, lambda covariance: belief.mean - OPTIMISM * np.sqrt(_variance(covariance)))


def _regret_reduction(belief: JointPosterior, generator: np.random.Generator) -> Next:
    outcomes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
    weights = weights / weights.sum()

    def expected_best(covariance: Array) -> Array:
        # Column i: how a measurement of mixture i moves all means, for each deviation of its outcome.
        moves = covariance / np.sqrt(_variance(covariance) + belief.noise)
        return sum(
            (
                weight * (belief.mean[:, None] + outcome * moves).min(axis=0)
                for outcome, weight in zip(outcomes, weights, strict=True)
            ),
            np.zeros(len(covariance)),
        )

    return _one_after_the_other(belief, expected_best)


def _one_after_the_other(belief: JointPosterior, score: Callable[[Array], Array]) -> Next:
    """Take the row with the least score, and believe from then on what its measurement would leave uncertain."""
    covariance = belief.covariance.copy()

    def next_one(free: NDArray[np.bool_]) -> int:
        nonlocal covariance
        row = int(np.where(free, score(covariance), np.inf).argmin())
        moved = covariance[:, row] / np.sqrt(max(covariance[row, row], 1e-300) + belief.noise)
        covariance = covariance - np.outer(moved, moved)
        return row

    return next_one


def _variance(covariance: Array) -> Array:
    return np.maximum(np.diag(covariance), 1e-300)


RULES: Mapping[str, Callable[[JointPosterior, np.random.Generator], Next]] = {
    "thompson": _thompson,
    "lower_bound": _lower_bound,
    "regret_reduction": _regret_reduction,
}
"""Rules by name."""
