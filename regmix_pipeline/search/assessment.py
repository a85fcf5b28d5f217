"""How sure we are of the answer: chances, optimism, sensitivity, and how far each weight may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.limits import ROUNDED, Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.search.convex import ConvexSearch
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region, above_sampled, project_to_limits, usual_distance

Array = NDArray[np.float64]
DRAWS = 20_000
"""Draws of errors behind a chance."""
HALVES = 3
"""Random halvings of the runs behind the optimism."""
NEARBY = 4096
POINT = 0.01
"""A percentage point of weight, the unit of sensitivity."""
AT_LIMIT = 5e-4
"""A weight this near to its cap or floor touches it: what was refined by drawing candidates stops a little short."""
WEAK = 0.1
"""A weight that may move over more than this is weakly identified."""


def gain_of(
    objective: Objective,
    chosen: Mixture,
    natural: Mixture,
    region: Region,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """How much lower the chosen mixture's weighted mean loss is than the natural one's, nats per token of a proxy.

    `predicted` is what the regressors say; `optimism` what such searches overstate, measured by searching with a law of
    one half of the runs and asking a law of the other half; `corrected` their difference, on which the chances and the
    interval are based. Errors are drawn from out-of-fold errors times each mixture's deviation.
    """
    fitted, share = objective.fitted, objective.target_weights
    points = np.array([mixture.vector(fitted.domains) for mixture in (natural, chosen)])
    value = fitted.objective(points, share)
    deviation = fitted.standard_deviation(points) @ fitted.shares(share)
    predicted = float(value[0] - value[1])
    if natural == chosen:
        empty = dict.fromkeys(("predicted", "optimism", "corrected", "low", "high"), 0.0)
        return {**empty, "chance_better_than_natural": 0.5, "chance_better_than_best_observed": 0.0}
    wrong = optimism(objective, points[0], region, seed)
    corrected = predicted - wrong
    errors = fitted.objective_errors(share)
    errors = errors - errors.mean()
    # As likely in either direction: where no gain is left, the chance of one is never above a half.
    errors = np.concatenate([errors, -errors])
    generator = np.random.Generator(np.random.PCG64(seed))
    at_chosen = generator.choice(errors, DRAWS) * deviation[1]
    drawn = corrected + generator.choice(errors, DRAWS) * deviation[0] - at_chosen
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    allowed = region.limits.allow(fitted.weights, ROUNDED)
    observed = (fitted.losses @ fitted.shares(share))[allowed]  # what limits forbid is evidence, and no choice
    return {
        "predicted": predicted,
        "optimism": wrong,
        "corrected": corrected,
        "low": float(low),
        "high": float(high),
        "chance_better_than_natural": float(np.mean(drawn > 0)),
        "chance_better_than_best_observed": float(np.mean(value[1] + wrong + at_chosen < observed.min()))
        if len(observed)
        else None,
    }


def optimism(objective: Objective, natural: Array, region: Region, seed: int) -> float:
    """By how much a searched gain overstates the true one, nats per token, not negative (the winner's curse).

    A law fitted to one half of the runs picks the best of many mixtures inside the region; a law fitted to the other
    half says what that pick is worth. With twice the runs the law's error variance is half, and so is the
    overstatement.
    """
    fitted = objective.fitted
    share = fitted.shares(objective.target_weights)
    counted = np.flatnonzero(share)
    n = len(fitted.weights)
    if n < 16:
        return 0.0
    generator = np.random.Generator(np.random.PCG64(seed))
    pool = project_to_limits(generator.dirichlet(np.maximum(region.prior, 1e-3), size=NEARBY), region.limits)
    pool = pool[region.allow(pool)]
    pool = pool[objective.keeps(pool)]
    if not len(pool):
        return 0.0
    differences = []
    for _ in range(HALVES):
        order = generator.permutation(n)
        half = order[: n // 2], order[n // 2 :]
        laws = [SaturationLaw().fit(fitted.weights[rows], fitted.losses[np.ix_(rows, counted)]) for rows in half]
        gains = [law.predict(natural[None]) @ share[counted] - law.predict(pool) @ share[counted] for law in laws]
        for mine, theirs in ((gains[0], gains[1]), (gains[1], gains[0])):
            best = int(mine.argmax())
            differences.append(mine[best] - theirs[best])
    return max(float(np.mean(differences)) / 2, 0.0)


def sensitivity_of(objective: Objective, chosen: Array, limits: Limits | None = None) -> Array:
    """Change of the objective when a domain gains a percentage point at the others' expense, (d,), nats per token."""
    return objective(one_point_perturbations(chosen, limits)) - objective(chosen[None])[0]


def one_point_perturbations(chosen: Array, limits: Limits | None = None) -> Array:
    """The mixtures in which each domain in turn gains a percentage point at all others' expense, (d, d); of phases that
    are chosen at once, at the expense of those of its phase."""
    if limits is None or limits.together is None:
        return chosen[None] * (1 - POINT) + POINT * np.eye(len(chosen))
    phase = np.repeat(np.arange(len(limits.together.parts)), len(limits.together.domains))
    shares = limits.together.shares[phase]
    others = np.where(phase[:, None] == phase, 1 - POINT / shares[:, None], 1.0)
    return chosen[None] * others + POINT * np.eye(len(chosen))


def standard_error_at(fitted: FittedRegressor, target_weights: Mapping[str, float], weights: Array) -> float:
    """Standard error of the mean objective predicted at a mixture (d,), nats per token; one proxy's is larger."""
    share = fitted.shares(target_weights)
    deviation = float((fitted.standard_deviation(weights[None], of_measurement=False) @ share)[0])
    return float(np.std(fitted.objective_errors(target_weights))) * deviation


def ranges_of(objective: Objective, region: Region, chosen: Array, program: ConvexSearch | None, seed: int) -> Array:
    """The range of each weight among mixtures within one standard error of the best, (d, 2).

    The standard error is that of the mean loss predicted at the chosen mixture, not of one proxy's. With a convex law
    every end is a convex program's
    answer; otherwise it is the furthest of many mixtures tried near the chosen one and in the region at large, and
    therefore a lower bound of the range.
    """
    fitted = objective.fitted
    error = standard_error_at(fitted, objective.target_weights, chosen)
    found = np.stack([chosen, chosen], axis=1)
    law = fitted.law
    if program is not None and not np.isfinite(region.trust_radius) and objective.guardrails is None:
        ends = program.ends(float(objective(chosen[None], law)[0]) + error)
        found = np.where(np.isfinite(ends), ends, found)
    else:
        generator = np.random.Generator(np.random.PCG64(seed))
        near = generator.standard_gamma(np.geomspace(5, 500, NEARBY)[:, None] * (chosen + 1e-3))
        far = generator.standard_gamma(np.tile(np.maximum(region.prior, 1e-3), (NEARBY, 1)))
        pool = np.concatenate([near, far])
        pool = project_to_limits(pool / np.maximum(pool.sum(axis=1, keepdims=True), 1e-300), region.limits)
        pool = pool[region.allow(pool)]
        pool = pool[objective.keeps(pool)]
        good = pool[objective(pool, law) <= objective(chosen[None], law)[0] + error] if len(pool) else pool
        if len(good):
            found = np.stack([good.min(axis=0), good.max(axis=0)], axis=1)
    return np.stack([np.minimum(found[:, 0], chosen), np.maximum(found[:, 1], chosen)], axis=1)


class Bounds(NamedTuple):
    """Caps and floors that weights are judged by, and what is held against them, each (d,)."""

    caps: Array
    floors: Array
    held: Array


def bounds_of(limits: Limits, weights: Array) -> Bounds:
    """Of each weight its own; of phases that are chosen at once, its domain's and what all of them draw of it."""
    together = limits.together
    if together is None:
        return Bounds(limits.caps, limits.floors, weights)
    sums = together.table(weights).sum(axis=0)
    return Bounds(*(np.tile(each, len(together.parts)) for each in (together.caps, together.floors, sums)))


def domain_rows(
    region: Region, chosen: Mixture, sensitivity: Array, ranges: Array, sampled: Array
) -> list[dict[str, Any]]:
    """Everything known about each domain's weight, one row a domain; ``sampled`` are the measured mixtures, (n, d)."""
    limits, highest = region.limits, sampled.max(axis=0)
    weights = chosen.vector(limits.domains)
    bounds = bounds_of(limits, weights)
    return [
        {
            "domain": domain,
            "weight": float(weights[j]),
            "prior": float(region.prior[j]),
            "cap": float(bounds.caps[j]),
            "floor": float(bounds.floors[j]),
            "at_cap": bool(bounds.caps[j] < 1 and bounds.held[j] >= bounds.caps[j] - AT_LIMIT),
            "at_floor": bool(bounds.floors[j] > 0 and bounds.held[j] <= bounds.floors[j] + AT_LIMIT),
            "sensitivity": float(sensitivity[j]),
            "low": float(ranges[j, 0]),
            "high": float(ranges[j, 1]),
            "weakly_identified": bool(ranges[j, 1] - ranges[j, 0] > WEAK),
            "highest_sampled": float(highest[j]),
        }
        for j, domain in enumerate(limits.domains)
    ]


def flags_of(fitted: FittedRegressor, region: Region, chosen: Mixture, gain: Mapping[str, float]) -> list[str]:
    """What a reader must know before acting on the answer."""
    weights = chosen.vector(fitted.domains)
    above, most = above_sampled(weights[None], fitted.weights)[0], fitted.weights.max(axis=0)
    found = [
        f"{domain}: weight {weight:.3f} is above the highest sampled, {highest:.3f}"
        for domain, weight, highest, is_above in zip(fitted.domains, weights, most, above, strict=True)
        if is_above
    ]
    away = float(region.distance(weights[None])[0])
    usual = usual_distance(fitted.weights)
    if away > usual:
        found.append(
            f"the mixture is {away:.2f} from the nearest sampled one, samples are within {usual:.2f} of each other"
        )
    if gain["corrected"] <= 0 < gain["predicted"]:
        found.append("the predicted gain is no larger than what such a search overstates")
    return found


def law_disagrees(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """A flag where the chosen regressors see a gain over the natural mixture and the pure law sees none.

    Args:
        predictions: rows of the search result.
    """
    rows = {row["name"]: row for row in predictions if row["target"] == "objective"}
    chosen, natural = rows["chosen"], rows["natural"]
    if chosen["predicted_by_law"] is None or chosen["predicted"] >= natural["predicted"]:
        return []
    gain = natural["predicted_by_law"] - chosen["predicted_by_law"]
    return (
        [f"the pure law ({chosen['law']}) predicts no gain over the natural mixture: {gain:+.3f}"] if gain <= 0 else []
    )
