"""RegMix's search: score random candidates, average the best; streamed, so memory holds one block and the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.progress import Progress, Say
from regmix_pipeline.search.region import moved_inside
from regmix_pipeline.search.settings import SearchSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Simulation:
    """What the simulation found.

    Attributes:
        mean: mean of the best candidates, (d,), inside the limits.
        best: the best candidates, best first, (k, d).
        values: their predicted objective, (k,).
        drawn: candidates drawn.
        beyond: how many of them broke a limit.
        scored: how many were scored.
    """

    mean: Array
    best: Array
    values: Array
    drawn: int
    beyond: int
    scored: int


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


def simulate(
    predict: Callable[[Array], Array], prior: Array, limits: Limits, settings: SearchSettings, seed: int, say: Say
) -> Simulation:
    """Draw, bring inside the limits, score, keep the best ``top_k`` and average them.

    Args:
        predict: objective to minimise, (m, d) -> (m,).
        prior: natural distribution, (d,), not negative, summing to 1.
        limits: caps and floors.
        settings: numbers of candidates, and whether those beyond a limit are moved inside or dropped.
        seed: of the draws.
        say: where progress goes.

    Raises:
        MixtureError: the limits leave no mixture, or no candidate is left.
    """
    limits.check()
    drawn = beyond = scored = 0
    best, values = np.empty((0, len(prior))), np.empty(0)
    progress = Progress("simulation", settings.candidates, say)
    for block in candidates(prior, settings, seed):
        outside = ~limits.allow(block)
        drawn, beyond = drawn + len(block), beyond + int(outside.sum())
        progress.advance(len(block))
        if settings.beyond_limits == "reject":
            block = block[~outside]
        elif outside.any():
            block[outside] = moved_inside(block[outside], limits)
        if not len(block):
            continue
        scored += len(block)
        best, values = np.concatenate([best, block]), np.concatenate([values, predict(block)])
        if len(values) > settings.top_k:
            order = np.argsort(values, kind="stable")[: settings.top_k]
            best, values = best[order], values[order]
    if not scored:
        raise MixtureError(
            f"none of {drawn} candidates respects the limits",
            where="search.beyond_limits",
            remedy="set it to project, or widen the caps",
        )
    order = np.argsort(values, kind="stable")
    best, values = best[order], values[order]
    return Simulation(best.mean(axis=0), best, values, drawn, beyond, scored)
