"""RegMix's search: score random candidates, average the best; streamed, so memory holds one block and the best.

RegMix averages the best 128 of 100,000. Where limits leave few candidates, the same number would average nearly all of
them, so it is the share that is kept; and the natural and the uniform mixture are candidates too, so that the answer is
never predicted to be worse than what anybody could have taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.anchors import reference_weights
from regmix_pipeline.progress import Progress, Say
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region, project_to_limits
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]
SCREEN_FROM = 5
"""Screening by the law pays when there are this many times more candidates than pass it."""


@dataclass(frozen=True)
class Simulation:
    """What the simulation found.

    Attributes:
        mean: mean of the best candidates, (d,), inside the region.
        best: the best candidates, best first, (k, d).
        values: their predicted objective, (k,).
        drawn: candidates drawn.
        beyond: how many of them broke a cap or a floor.
        dropped: how many were not scored, because they broke a limit that candidates are not moved into, or a
            guardrail.
        screened_by: the law that let only the best candidates through to the chosen regressors, or None.
    """

    mean: Array
    best: Array
    values: Array
    drawn: int
    beyond: int
    dropped: int
    screened_by: str | None


def candidates(prior: Array, settings: SearchSettings, seed: int) -> Iterator[Array]:
    """Blocks of Dirichlet(strength x prior) draws, (block, d): block b is a pure function of seed and b."""
    left, number = settings.candidates, 0
    while left > 0:
        generator = np.random.Generator(np.random.Philox(key=int(fingerprint("candidates", seed, number), 16)))
        count = min(settings.block, left)
        gammas = generator.standard_gamma(settings.strength * prior, size=(count, len(prior)))
        totals = gammas.sum(axis=1)
        # With tiny parameters all gammas can underflow; such a draw sits on one domain.
        lost = np.flatnonzero(totals <= 0)
        gammas[lost, generator.choice(len(prior), size=len(lost), p=prior / prior.sum())] = 1.0
        yield gammas / gammas.sum(axis=1, keepdims=True)
        left, number = left - count, number + 1


def simulate(objective: Objective, region: Region, settings: SearchSettings, seed: int, say: Say) -> Simulation:
    """Draw, bring inside the limits, score, keep the best ``top_k``, or their share of those left, and average them.

    With many candidates the fitted law scores them all and the chosen regressors the best ``screen`` of them.

    Args:
        objective: what to minimise.
        region: where the answer may lie.
        settings: numbers of candidates, and whether those beyond a cap are moved inside or dropped.
        seed: of the draws.
        say: where progress goes.

    Raises:
        MixtureError: no candidate is left.
    """
    law = objective.fitted.law if settings.candidates >= SCREEN_FROM * settings.screen else None
    keep = settings.screen if law else settings.top_k
    drawn = beyond = scored = 0
    best, values = np.empty((0, len(region.prior))), np.empty(0)
    progress = Progress("simulation", settings.candidates, say)
    together = region.limits.together
    for block in candidates(region.prior, settings, seed):
        if together is not None:  # parts of a Dirichlet draw are Dirichlet draws: phases differ independently
            block = together.within_phases(block)
        outside = ~region.limits.allow(block)
        drawn, beyond = drawn + len(block), beyond + int(outside.sum())
        progress.advance(len(block))
        if settings.beyond_limits == "reject":
            block = block[~outside]
        elif outside.any():
            block[outside] = project_to_limits(block[outside], region.limits)
        block = block if region.is_simplex else block[region.allow(block)]
        block = block if objective.guardrails is None else block[objective.keeps(block)]
        scored += len(block)
        best, values = np.concatenate([best, block]), np.concatenate([values, objective(block, law)])
        if len(values) > keep:
            kept = np.argpartition(values, keep - 1)[:keep]
            best, values = best[kept], values[kept]
    references = _references(region)
    references = references[objective.keeps(references)]
    if objective.guardrails is not None and not scored and not len(references):
        raise objective.guardrails.broken(_references(region) if len(_references(region)) else region.observed)
    if not scored and not (objective.guardrails is not None and len(references)):
        raise MixtureError(
            f"none of {drawn} candidates respects the limits",
            where="search",
            remedy="use method: optimiser, set beyond_limits to project, or widen the limits",
        )
    if law and scored:
        values = objective(best)
    known = objective(references) if len(references) else np.empty(0)
    best, values = np.concatenate([best, references]), np.concatenate([values, known])
    share = max(1, round(settings.top_k * scored / drawn))
    order = np.argsort(values, kind="stable")[:share]
    best, values = best[order], values[order]
    mean = best.mean(axis=0)
    # Neither nearness to observed runs nor the guardrails leave a convex set, nor need the good mixtures be one.
    inside = region.allow(mean[None])[0] and objective.keeps(mean[None])[0]
    if not inside or (len(known) and objective(mean[None])[0] > known.min()):
        mean = best[0]
    return Simulation(mean, best, values, drawn, beyond, drawn - scored, law)


def _references(region: Region) -> Array:
    """The natural and the uniform mixture, as near as caps and floors allow, where the other limits allow them."""
    named = np.stack(list(reference_weights(region.prior, region.limits).values()))
    return named[region.allow(named)]
