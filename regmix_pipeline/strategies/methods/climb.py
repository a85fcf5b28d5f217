"""CLIMB's rounds: train, regress, draw near the best, and train again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.sampler import draw_block, quantise
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Run
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, objective_shares, sampled
from regmix_pipeline.strategies.methods.nearest import nearest
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class Climb:
    """CLIMB's iterative bootstrapping (Diao et al. 2025), over the study's domains instead of clusters.

    The first round trains mixtures of RegMix's sampler. Every later one draws candidates, half afresh and half near the
    best mixtures trained so far, keeps the best by a LightGBM fitted to all rounds, and trains some of these at random,
    so that the predictor's errors do not decide alone. Proxies are shared out 4 : 2 : 1, as the paper's 64, 32 and 16.
    The answer is the candidate with the least predicted objective after the last round. The paper's LightGBM is
    shallow, with small leaves and an early stop; `lightgbm_tuned` is this package's of that kind.

    Attributes:
        rounds: shares of the proxies, round by round.
        candidates: drawn in every round but the first.
        kept: best predicted candidates per proxy of the round, of which its proxies are drawn.
        closeness: concentration of the draws round a mixture; the higher, the nearer.
        regressor: its name in `regression.catalogue`.
    """

    name = "climb"
    paper = (
        "Diao et al., CLIMB: Clustering-based Iterative Data Mixture Bootstrapping for Language Model Pre-training, "
        "2504.13161"
    )

    rounds: tuple[int, ...] = (4, 2, 1)
    candidates: int = 4096
    kept: int = 4
    closeness: float = 50.0
    regressor: str = "lightgbm_tuned"

    def __post_init__(self) -> None:
        """Take a list for the rounds as well, as a study file has it.

        Raises:
            StudyError: no rounds, or a share that is not above 0.
        """
        object.__setattr__(self, "rounds", tuple(self.rounds))
        if not self.rounds or min(self.rounds) <= 0:
            raise StudyError(
                "rounds are shares above 0", where="strategies.options.climb.rounds", remedy="as [4, 2, 1]"
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.catalogue import regressor

        count = affordable(arena, self.name, flops)
        ends = np.rint(np.cumsum(self.rounds) / sum(self.rounds) * count).astype(int)
        sizes = [int(size) for size in np.diff(np.r_[0, ends]) if size > 0]
        mixtures = sampled(arena, MixtureSettings(count=sizes[0], under_caps=False), seed)
        runs: list[Run] = arena.train(mixtures, arena.proxy, seed)
        best_so_far = []
        for number, size in enumerate([*sizes[1:], 0], start=1):
            weights, losses, _ = loss_table(arena, runs)
            objective = losses @ objective_shares(arena)
            best_so_far.append(round(float(objective.min()), 6))
            model = regressor(self.regressor).fit(weights, objective)
            drawn = self._candidates(
                arena, weights[np.argsort(objective, kind="stable")[: max(4, count // 8)]], seed, number
            )
            order = np.argsort(model.predict(drawn), kind="stable")
            if not size:
                return nearest(arena, drawn[order[0]], proxies=count, rounds=sizes, best_after_rounds=best_so_far)
            pick = self._generator(seed, number, "pick").permutation(min(self.kept * size, len(order)))[:size]
            chosen = [Mixture.at(arena.domains, drawn[i]) for i in order[pick]]
            runs += arena.train(chosen, arena.proxy, seed)
        raise AssertionError("the last round answers")

    def _candidates(self, arena: Arena, best: Array, seed: int, number: int) -> Array:
        """Mixtures, (m, d): of the sampler, and near the best trained ones."""
        settings = MixtureSettings()
        fresh = draw_block(arena.prior, settings, seed, number)[: self.candidates // 2]
        generator = self._generator(seed, number, "near")
        centres = best[generator.integers(len(best), size=self.candidates - len(fresh))]
        gammas = generator.standard_gamma(self.closeness * (centres + 1e-3))
        drawn = np.concatenate([fresh, gammas / gammas.sum(axis=1, keepdims=True)])
        return np.unique([quantise(row, settings) for row in drawn], axis=0) / PARTS

    @staticmethod
    def _generator(seed: int, number: int, what: str) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=int(fingerprint("climb", what, seed, number), 16)))
