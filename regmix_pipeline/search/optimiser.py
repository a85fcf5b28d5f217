"""The constrained optimiser: a convex program where the law is convex, SLSQP from many starts where it is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.anchors import reference_weights
from regmix_pipeline.progress import Say
from regmix_pipeline.search.candidates import best_measured, candidates_inside
from regmix_pipeline.search.convex import ConvexSearch, is_convex
from regmix_pipeline.search.descent import descend, rounded_off
from regmix_pipeline.search.guardrails import TOLERANCE, Guardrails, pulled_inside
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region, project_to_limits
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]
STARTS = 12
"""Starts of SLSQP, and observed mixtures whose surroundings are searched under a trust radius."""
REFINEMENTS = 4096
"""Candidates around the best mixture that the chosen regressors judge."""
OBSERVED, DRAWN = 2, 2
"""Measured mixtures, and drawn ones, that descents by the chosen regressors start from."""
DESCENT = 60
"""Steps of such a descent at most."""
MOVED_TO = 3
"""Mixtures that keep every guardrail, towards which those that break one are moved."""
POOL = 4096
"""Mixtures drawn from all over the region for the best of them."""


@dataclass(frozen=True)
class OptimiserResult:
    """What the optimiser found.

    Attributes:
        weights: the answer, (d,), inside the region.
        law: the law it was found with, or None when the chosen regressors were minimised directly.
        how: 'convex program' or 'SLSQP'.
        refined: whether the chosen regressors moved it.
        convex: the convex program, for questions about how far weights may move; None without one.
        anchors: mixtures that keep every guardrail, the one with most slack first.
    """

    weights: Array
    law: str | None
    how: str
    refined: bool
    convex: ConvexSearch | None
    anchors: tuple[Array, ...] = ()


def convex_program(objective: Objective, region: Region) -> ConvexSearch | None:
    """The fitted law as a convex program, if it is convex for every target that counts."""
    law = objective.fitted.law
    if law is None:
        return None
    counted = np.flatnonzero(objective.fitted.shares(objective.target_weights))
    if not all(is_convex(objective.fitted.models[law], int(j)) for j in counted):
        return None
    return ConvexSearch(objective, region, law)


def optimise(objective: Objective, region: Region, settings: SearchSettings, seed: int, say: Say) -> OptimiserResult:
    """Minimise what the chosen regressors predict, cautiously (see `Objective.cautious`), inside the region.

    The law's optimum, the natural and the uniform mixture, the best measured ones and the best of a wide pool are each
    descended from. Around the best end, the mean of the best neighbours is the answer if it is better still.

    Under guardrails, descents are constrained by them, and what breaks one is moved towards a mixture that keeps all.

    Raises:
        MixtureError: no mixture inside the region was found, or none that keeps the guardrails.
    """
    law = objective.fitted.law
    convex = convex_program(objective, region)
    weights = _convex_optimum(objective, region, convex) if convex else None
    how = "convex program"
    if weights is None:
        how, weights = "SLSQP", _slsqp(objective, region, law, seed)
    if weights is None:
        raise MixtureError(
            "no mixture respects caps, groups, divergence and trust radius together",
            where="search",
            remedy="widen one of groups, max_divergence and trust_radius",
        )
    say(f"  optimiser          {how} on {law or 'the chosen regressors'}")
    measured = best_measured(objective.fitted, objective.target_weights, region.allow(objective.fitted.weights))
    starts = np.array([weights, *_references(region), *measured[:OBSERVED]])
    pool = _pool(objective, region, starts, settings, seed)
    starts = np.concatenate([starts, pool[:DRAWN]])
    found = np.array([*starts, *_descended(objective, region, starts)])
    anchors: tuple[Array, ...] = ()
    if objective.guardrails is not None:
        found, anchors = _keeping(objective.guardrails, region, found, seed)
    best = found[int(objective.cautious(found).argmin())]
    nearby = _refined(objective, region, best, settings, seed)
    answer = best if nearby is None else nearby
    return OptimiserResult(answer, law, how, bool((answer != weights).any()), convex, anchors)


def anchors_of(guardrails: Guardrails, region: Region, points: Array, seed: int) -> tuple[Array, ...]:
    """Mixtures that keep every guardrail, the one with most slack first: of points (m, d), of a wide pool, or where
    descents from the nearest of these end.

    Raises:
        MixtureError: none was found; it names the guardrails that the nearest breaks.
    """
    generator = np.random.Generator(np.random.Philox(key=int(fingerprint("guardrails", seed), 16)))
    pool = np.concatenate([points, candidates_inside(region, points, POOL, generator)])
    least = guardrails.slack(pool).min(axis=1)
    order = np.argsort(-least, kind="stable")
    if least[order[0]] < -TOLERANCE:
        starts = pool[order[:STARTS]]
        ends = (rounded_off(descend(lambda w: -_least(guardrails, w), region, each, 200), region) for each in starts)
        pool = np.array([*starts, *(end for end in ends if end is not None)])
        order = np.argsort(-guardrails.slack(pool).min(axis=1), kind="stable")
    kept = [pool[row] for row in order[:STARTS] if guardrails.keeps(pool[row][None])[0]]
    if not kept:
        raise guardrails.broken(pool)
    return tuple(kept)


def _least(guardrails: Guardrails, weights: Array) -> Array:
    """The least slack of each mixture, (m, d) -> (m,)."""
    return guardrails.slack(weights).min(axis=1)


def _keeping(guardrails: Guardrails, region: Region, found: Array, seed: int) -> tuple[Array, tuple[Array, ...]]:
    """Of mixtures (m, d) those that keep every guardrail, others moved until they do; and the anchors."""
    kept = guardrails.keeps(found)
    anchors = anchors_of(guardrails, region, found, seed)
    nearest = [
        moved for anchor in anchors[:MOVED_TO] for moved in pulled_inside(guardrails, region, found[~kept], anchor)
    ]
    return np.array([*found[kept], *nearest, *anchors]), anchors


def _references(region: Region) -> list[Array]:
    """The natural and the uniform mixture, as near as the caps allow, where they are inside the region."""
    found = reference_weights(region.prior, region.limits).values()
    return [weights for weights in found if region.allow(weights[None])[0]]


def _convex_optimum(objective: Objective, region: Region, program: ConvexSearch) -> Array | None:
    if not np.isfinite(region.trust_radius):
        return rounded_off(program.optimum(), region)
    # Balls around observed runs are convex one by one, so the best few are searched in turn.
    centres = _best_observed(objective, region, objective.fitted.law)
    found = [rounded_off(program.optimum(program.near(centre)), region) for centre in centres]
    return _best(objective, [one for one in found if one is not None], objective.fitted.law)


def _slsqp(objective: Objective, region: Region, law: str | None, seed: int) -> Array | None:
    generator = np.random.Generator(np.random.Philox(key=int(fingerprint("starts", seed), 16)))
    drawn = generator.dirichlet(np.maximum(region.prior, 1e-3) * 20, size=STARTS)
    starts = np.concatenate([region.prior[None], _best_observed(objective, region, law), drawn])
    found = []
    for start in project_to_limits(starts, region.limits)[: 2 * STARTS]:
        for weights in (descend(lambda points: objective(points, law), region, start, 200), start):
            inside = rounded_off(weights, region)
            if inside is not None:
                found.append(inside)
                break
    return _best(objective, found, law)


def _descended(objective: Objective, region: Region, starts: Array) -> list[Array]:
    """Ends of descents from starts (m, d) by what the chosen regressors predict, cautiously; those inside."""
    guards = objective.guardrails
    ends = (rounded_off(descend(objective.cautious, region, start, DESCENT, guards), region) for start in starts)
    return [end for end in ends if end is not None]


def _pool(objective: Objective, region: Region, centres: Array, settings: SearchSettings, seed: int) -> Array:
    """Mixtures from all over the region and around centres (m, d), the cautiously best first, (at most top_k, d)."""
    generator = np.random.Generator(np.random.Philox(key=int(fingerprint("pool", seed), 16)))
    found = candidates_inside(region, centres, POOL, generator)
    if objective.guardrails is not None and (kept := objective.keeps(found)).any():
        found = found[kept]
    if not len(found):
        return found
    found = found[np.argsort(objective(found), kind="stable")[: settings.top_k]]
    return found[np.argsort(objective.cautious(found), kind="stable")]


def _best_observed(objective: Objective, region: Region, law: str | None) -> Array:
    """The observed mixtures that are best by the law, among those that caps allow first, (STARTS, d)."""
    values = objective(region.observed, law)
    order = np.lexsort((values, ~region.limits.allow(region.observed)))
    return region.observed[order[:STARTS]]


def _best(objective: Objective, found: list[Array], law: str | None) -> Array | None:
    if not found:
        return None
    return found[int(objective(np.array(found), law).argmin())]


def _refined(objective: Objective, region: Region, weights: Array, settings: SearchSettings, seed: int) -> Array | None:
    """The mean of the best neighbours, judged cautiously, if it is better than ``weights``."""
    generator = np.random.Generator(np.random.Philox(key=int(fingerprint("refine", seed), 16)))
    closeness = np.geomspace(20, 2000, REFINEMENTS)[:, None]
    gammas = generator.standard_gamma(closeness * (weights + 1e-4))
    nearby = project_to_limits(gammas / gammas.sum(axis=1, keepdims=True), region.limits)
    nearby = nearby[region.allow(nearby)]
    nearby = nearby[objective.keeps(nearby)]
    if not len(nearby):
        return None
    count = min(settings.top_k, max(len(nearby) // 16, 1))
    nearby = nearby[np.argsort(objective(nearby), kind="stable")[: 4 * count]]
    best = nearby[np.argsort(objective.cautious(nearby), kind="stable")[:count]].mean(axis=0)
    better = objective.cautious(np.array([best, weights]))
    inside = region.allow(best[None])[0] and objective.keeps(best[None])[0]
    return best if better[0] < better[1] and inside else None
