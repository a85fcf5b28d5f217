"""Which mixtures to train next: a batch chosen by the Gaussian process's joint belief about the objective.

Three rules are known. ``thompson`` draws whole functions from the belief, and takes the best mixture of each (Thompson
1933). ``lower_bound`` takes the mixture with the least mean minus some deviations, and lowers the deviations around it
before it takes the next (Srinivas et al., arXiv 0912.3995; Desautels et al., JMLR 2014). ``regret_reduction`` takes the
mixture whose measurement is expected to lower the best predicted loss most (knowledge gradient, Frazier et al. 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw, JointPosterior
from regmix_pipeline.search.candidates import candidates_inside
from regmix_pipeline.search.region import Region, distance_to_nearest, project_to_limits, rounded_inside

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


@dataclass(frozen=True)
class Pick:
    """A mixture to train next.

    Attributes:
        mixture: in multiples of the sampler's quantum.
        predicted: mean of the objective, nats per token.
        deviation: of that mean as believed before the batch, nats per token.
    """

    mixture: Mixture
    predicted: float
    deviation: float


def choose_batch(
    fitted: FittedRegressor,
    region: Region,
    objective: Mapping[str, float],
    chosen: Array,
    count: int,
    seed: int,
    quantum: int = 1,
    rule: str = "thompson",
) -> list[Pick]:
    """Mixtures to train next, apart from each other and from those measured.

    Args:
        fitted: the regressors; its Gaussian process is asked, or one that is fitted to its rows here.
        region: where mixtures may lie.
        objective: target -> share.
        chosen: the decision as it would be now, (d,).
        count: of mixtures; fewer are returned where the region holds no more.
        seed: same input and seed, same answer.
        quantum: parts per million that weights are multiples of.
        rule: one of `RULES`.
    """
    share = fitted.shares(objective)
    process = fitted.process or GaussianProcessLaw().fit(fitted.weights, fitted.losses)
    generator = np.random.Generator(np.random.PCG64(seed))
    pool = _pool(process, fitted, region, share, chosen, generator)
    belief = process.joint_posterior(pool, share)
    nearest = distance_to_nearest(pool, fitted.weights)
    next_one = RULES[rule](belief, generator)
    picks: list[Pick] = []
    taken = {Mixture.from_weights(dict(zip(fitted.domains, row.tolist(), strict=True))).id for row in fitted.weights}
    deviation = np.sqrt(np.maximum(np.diag(belief.covariance), 0.0))
    while len(picks) < count and (nearest >= APART).any():
        row = next_one(nearest >= APART)
        nearest = np.minimum(nearest, distance_to_nearest(pool, pool[[row]]))
        mixture = quantised(pool[row], region, quantum)
        if mixture.id in taken:
            continue
        taken.add(mixture.id)
        picks.append(Pick(mixture, float(belief.mean[row]), float(deviation[row])))
    return picks


def quantised(weights: Array, region: Region, quantum: int) -> Mixture:
    """A mixture near ``weights`` that a proxy can execute: multiples of ``quantum`` where the limits allow it."""
    coarse = np.rint(weights * PARTS / quantum) * quantum / PARTS
    moved = project_to_limits((coarse / coarse.sum())[None], region.limits)[0]
    return rounded_inside(moved, region.limits)


def _pool(
    process: GaussianProcessLaw,
    fitted: FittedRegressor,
    region: Region,
    share: Array,
    chosen: Array,
    generator: np.random.Generator,
) -> Array:
    """The mixtures that are compared, (at most POOL, d)."""
    inside = region.allow(fitted.weights)
    losses = np.where(inside, fitted.losses @ share, np.inf)
    centres = [chosen, fitted.weights[int(losses.argmin())]] if inside.any() else [chosen]
    found = candidates_inside(region, np.array(centres), CANDIDATES, generator)
    found = np.concatenate([found, chosen[None]])
    if len(found) <= POOL:
        return found
    counted = np.flatnonzero(share)
    mean = process.predict_targets(found, counted) @ share[counted]
    deviation = process.standard_deviation(found, counted, of_measurement=False) @ share[counted]
    order = np.argsort(mean - OPTIMISM * deviation, kind="stable")
    rest = generator.permutation(order[POOL // 2 :])[: POOL - POOL // 2]
    return found[np.concatenate([order[: POOL // 2], rest])]


Next = Callable[[NDArray[np.bool_]], int]
"""Given which rows are free, the next one."""


def _thompson(belief: JointPosterior, generator: np.random.Generator) -> Next:
    values, vectors = np.linalg.eigh((belief.covariance + belief.covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))

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
