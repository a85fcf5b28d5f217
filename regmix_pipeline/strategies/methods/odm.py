"""Online data mixing: a bandit draws the domains of the target run itself by the losses it meets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from regmix_pipeline.search.region import natural_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Session
from regmix_pipeline.strategies.methods.nearest import inside


def exploration(turn: int, domains: int) -> float:
    """The least probability of a domain at a turn, counted from 1: min(1 / K, sqrt(ln K / (K t)))."""
    return min(1 / domains, float(np.sqrt(np.log(domains) / (domains * turn))))


def policy_at(turn: int, rewards: Array) -> Array:
    """Probabilities of the domains at a turn, counted from 1, (d,) (Albalak et al. 2023, algorithm 1).

    (1 - K e_t) exp(e_(t-1) R_i) / sum_j exp(e_(t-1) R_j) + e_t, with e_0 = 1 / K.

    Args:
        turn: t.
        rewards: moving averages R of importance-weighted losses, (d,).
    """
    d = len(rewards)
    now, before = exploration(turn, d), exploration(turn - 1, d) if turn > 1 else 1 / d
    scores = np.exp(before * (rewards - rewards.max()))
    return (1 - d * now) * scores / scores.sum() + now


def rewarded(rewards: Array, losses: Array, probabilities: Array, smoothing: float) -> Array:
    """Moving averages after a turn, (d,): s R + (1 - s) loss / probability where something was drawn.

    Args:
        rewards: before, (d,).
        losses: of the turn, NaN where nothing was drawn, (d,).
        probabilities: with which domains were drawn, (d,).
        smoothing: s.
    """
    seen = ~np.isnan(losses)
    fresh = np.where(seen, losses, 0.0) / np.where(seen, probabilities, 1.0)
    return np.where(seen, smoothing * rewards + (1 - smoothing) * fresh, rewards)


@dataclass(frozen=True)
class OnlineDataMixing:
    """Online data mixing (Albalak et al. 2023): EXP3 over domains, the reward a domain's own training loss.

    It trains no proxies: it steers the target run. After a warm-up at the natural weights every turn draws by the
    policy and rewards domains with their losses over their probabilities, in a moving average. A turn's tokens are
    drawn by quota, so every domain above zero is seen and rewarded in a turn. Each turn's weights are moved inside the
    limits. High losses draw domains, whether or not they can be lowered; the objective is not asked.

    Attributes:
        turns: updates in the run; the paper's turns are steps.
        smoothing: of the moving average, .9 in the authors' own runs as others report them.
        warm_up: share of the steps that are drawn at the natural weights first.
    """

    name = "odm"
    paper = "Albalak et al., Efficient Online Data Mixing For Language Model Pre-Training, 2312.02406"
    trains = False

    turns: int = 1000
    smoothing: float = 0.9
    warm_up: float = 0.01

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`; costs nothing before the target run."""
        natural = natural_inside(arena.prior, arena.limits).vector(arena.domains)

        def steer(session: Session) -> None:
            self._steer(arena, session, natural)

        return Choice(policy=steer, details={"turns": self.turns, "warm_up": self.warm_up})

    def _steer(self, arena: Arena, session: Session, natural: Array) -> None:
        steps, d = session.size.steps, len(natural)
        first = min(round(self.warm_up * steps), steps - 1)
        rewards = np.zeros(d)
        if first:
            rewards = rewarded(rewards, session.advance(natural, first), natural, self.smoothing)
        ends = np.unique(np.rint(np.linspace(first, steps, min(self.turns, steps - first) + 1)).astype(int))
        for turn, (begin, end) in enumerate(pairwise(ends), start=1):
            weights = inside(arena, policy_at(turn, rewards))
            weights = weights / weights.sum()
            losses = session.advance(weights, int(end - begin))
            rewards = rewarded(rewards, losses, weights, self.smoothing)
