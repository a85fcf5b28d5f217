"""Is the decision stable, and if not, which mixtures should be trained next?

A law is fitted to many reweightings of the runs (the Bayesian bootstrap, Rubin 1981). Each draw is a law that the
evidence allows; its own best mixture says what the decision would be if that law were true, and what the decision at
hand would lose. The mean of that loss is the expected regret, the most that perfect knowledge could still gain. While
it is a large part of the gain over the natural mixture, the draws' own best mixtures are the ones to train next: where
laws that the evidence allows disagree about the optimum, a proxy decides between them (Thompson sampling).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.acquisition import quantised
from regmix_pipeline.search.region import Region, distance_to_nearest, project_to_limits

Array = NDArray[np.float64]
DRAWS = 24
POOL = 6000
ENOUGH = 200
"""Mixtures inside the region below which more are sought around the decision, and then the regret says too little."""
APART = 0.05
"""Hellinger distance below which two proposals are one, and a proposal is measured already."""


@dataclass(frozen=True)
class Proposals:
    """What further proxies would be worth.

    Attributes:
        regret: expected loss of the decision against the best mixture, nats per token of a proxy.
        regrets: of every draw, (DRAWS,).
        gain: expected gain of the decision over the natural mixture, nats per token.
        mixtures: to train next, the most promising first.
        worth: expected regret that each of them represents, nats per token.
        judged: whether enough mixtures inside the region were compared for the regret to mean something.
    """

    regret: float
    regrets: Array
    gain: float
    mixtures: tuple[Mixture, ...]
    worth: tuple[float, ...]
    judged: bool = True

    @property
    def share(self) -> float:
        """Expected regret as a share of the expected gain; infinite without a gain."""
        return self.regret / self.gain if self.gain > 0 else (0.0 if self.regret <= 0 else float("inf"))


def propose(
    fitted: FittedRegressor,
    region: Region,
    objective: Mapping[str, float],
    chosen: Array,
    natural: Array,
    batch: int,
    seed: int,
    quantum: int = 1,
) -> Proposals:
    """Expected regret of ``chosen``, and up to ``batch`` mixtures to train next.

    Args:
        fitted: the regressor; only the runs it was fitted to are used.
        region: where mixtures may lie.
        objective: target -> share.
        chosen, natural: the decision and the natural mixture, (d,).
        batch: proposals at most.
        seed: same input and seed, same answer.
        quantum: parts per million that proposals' weights are multiples of.
    """
    from regmix_pipeline.regression.laws.saturation import SaturationLaw

    share = fitted.shares(objective)
    counted = np.flatnonzero(share)
    generator = np.random.Generator(np.random.PCG64(int(fingerprint("proposals", seed)[:15], 16)))
    pool = _pool(region, chosen, generator)
    points = np.vstack([pool, chosen, natural])
    regrets, gains, picks = [], [], []
    for _ in range(DRAWS):
        weight = generator.exponential(size=len(fitted.weights))
        law = SaturationLaw().fit(fitted.weights, fitted.losses[:, counted], weight)
        value = law.predict(points) @ share[counted]
        best = int(value[:-2].argmin())
        regrets.append(max(float(value[-2] - value[best]), 0.0))
        gains.append(float(value[-1] - value[-2]))
        picks.append(pool[best])
    order = np.argsort(regrets)[::-1]
    mixtures: list[Mixture] = []
    worth: list[float] = []
    seen = list(fitted.weights)
    for row in order:
        if len(mixtures) == batch or regrets[row] <= 0:
            break
        mixture = quantised(picks[row], region, quantum)
        at = mixture.vector(region.limits.domains)
        if distance_to_nearest(at[None], np.array(seen))[0] >= APART:
            mixtures.append(mixture)
            worth.append(regrets[row] / DRAWS)
            seen.append(at)
    return Proposals(
        float(np.mean(regrets)),
        np.array(regrets),
        float(np.mean(gains)),
        tuple(mixtures),
        tuple(worth),
        len(pool) >= ENOUGH,
    )


def _pool(region: Region, chosen: Array, generator: np.random.Generator) -> Array:
    """Mixtures inside the region: from all over it, and near the decision."""
    wide = generator.standard_gamma(np.tile(np.maximum(region.prior, 1e-3), (POOL // 2, 1)))
    near = generator.standard_gamma(np.geomspace(3, 300, POOL // 2)[:, None] * (chosen + 0.01))
    drawn = np.concatenate([wide, near])
    drawn = drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-300)
    inside = project_to_limits(drawn, region.limits)
    allowed = inside[region.allow(inside)]
    if len(allowed) >= ENOUGH:
        return allowed
    # A narrow region: from points outside towards the decision, which is inside.
    nearer = np.concatenate([chosen + step * (inside[:200] - chosen) for step in np.geomspace(0.5, 1e-3, 12)])
    return np.concatenate([allowed, nearer[region.allow(nearer)], chosen[None]])
