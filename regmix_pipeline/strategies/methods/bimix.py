"""BiMix: every domain's loss from its own proportion and the step, and the best proportions under that law."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, sampled, too_small
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class BiMix:
    """BiMix (Ge et al. 2024): L_i = r_i^-a_i (B_i s^-b_i + C_i), fitted for each domain, minimised over r.

    It knows a domain's loss from that domain's own proportion alone: no transfer, and no target that is not a domain.
    The share of the objective that lies outside is spread over all domains alike; with an objective of none of the
    domains this is the paper's own, the mean over domains. Losses are those of the domains' training text, measured
    along the way; few runs are enough for its few parameters.

    Attributes:
        runs: trained at most.
        checkpoints: at which a run's domains are measured.
    """

    name = "bimix"
    paper = "Ge et al., BiMix: Bivariate Data Mixing Law for Language Model Pretraining, 2405.14908"

    runs: int = 16
    checkpoints: int = 10

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.laws.bimix import BiMixLaw
        from regmix_pipeline.strategies.descent import minimised

        size, d = arena.proxy, len(arena.domains)
        least = 3
        affordable(arena, self.name, flops, least=least)
        mixtures = sampled(arena, MixtureSettings(count=min(self.runs, int(flops // size.flops))), seed)
        ends = np.unique(np.linspace(0, size.steps, self.checkpoints + 1).astype(int))
        rows: list[Array] = []
        losses: list[Array] = []
        spent, done = arena.account.flops, 0
        for mixture in mixtures:
            each = (arena.account.flops - spent) / max(done, 1)
            if done and arena.account.flops - spent + each > flops * (1 + 1e-9):
                break  # the passes along the way count as well
            weights = mixture.vector(arena.domains)
            session = arena.start(size, seed)
            for begin, end in pairwise(ends):
                session.advance(weights, int(end - begin))
                rows.append(np.r_[weights, float(end)])
                losses.append(session.domain_losses())
            done += 1
            if done == 1 and (one := arena.account.flops - spent) * least > flops * (1 + 1e-9):
                raise too_small(arena, self.name, flops, least * one)
        X, Y = np.array(rows), np.array(losses)
        laws = [BiMixLaw(own=i).fit(X, Y[:, i]) for i in range(d)]
        at = arena.target.tokens / (size.tokens / size.steps)
        share = self._domain_shares(arena)

        def value(weights: Array) -> Array:
            X = np.column_stack([weights, np.full(len(weights), at)])
            return np.column_stack([law.predict_targets(X, [0])[:, 0] for law in laws]) @ share

        found = minimised(value, arena.limits, arena.prior[None], iterations=0, finish=300)
        return Choice.of(
            rounded_inside(found, arena.limits),
            runs=done,
            objective=dict(zip(arena.domains, share.round(6).tolist(), strict=True)),
        )

    def _domain_shares(self, arena: Arena) -> Array:
        """What each domain's loss counts, (d,): its share of the objective, and of what is outside all domains."""
        own = np.array([arena.objective.get(name, 0.0) for name in arena.domains])
        total = sum(arena.objective.values())
        return own / total + (1 - own.sum() / total) / len(own)
