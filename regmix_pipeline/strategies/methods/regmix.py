"""RegMix as published: its sampler, LightGBM, and the mean of the best of many random candidates."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.strategies.arena import Arena, Choice, Size
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, objective_shares, sampled
from regmix_pipeline.strategies.methods.nearest import nearest
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class RegMix:
    """RegMix (Liu et al. 2024), with its published settings as defaults.

    Mixtures are drawn around the natural one without regard to caps, LightGBM with 1000 trees at a rate of .01 is
    fitted to the objective, without the notebook's stop at the test error's minimum, and of 100,000 draws from
    Dirichlet(prior) the best 128 are averaged. The mean is moved inside the limits. The paper trains 512 proxies;
    here as many as the budget pays for.

    Attributes:
        candidates: draws that are scored.
        top_k: of them that are averaged.
        rounds, learning_rate: of LightGBM.
    """

    name = "regmix"
    paper = "Liu et al., RegMix: Data Mixture as Regression for Language Model Pre-training, 2407.01492"

    candidates: int = 100_000
    top_k: int = 128
    rounds: int = 1000
    learning_rate: float = 0.01

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.trees import LightGBMRegressor
        from regmix_pipeline.strategies.methods.fitted_one import fitted_one, no_limits, simulated
        from regmix_pipeline.study.settings.search import SearchSettings

        size, count = self.proxies(arena, flops)
        mixtures = sampled(arena, MixtureSettings(count=count, under_caps=False), seed)
        weights, losses, _ = loss_table(arena, arena.train(mixtures, size, seed))
        model = LightGBMRegressor(self.rounds, self.learning_rate)
        objective = losses @ objective_shares(arena)
        fitted = fitted_one(arena, "lightgbm", model, weights, objective[:, None], ["objective"])
        settings = SearchSettings(method="simulation", candidates=self.candidates, top_k=self.top_k)
        found = simulated(arena, fitted, {"objective": 1.0}, settings, seed, no_limits(arena))
        return nearest(arena, found, proxies=count)

    def proxies(self, arena: Arena, flops: float) -> tuple[Size, int]:
        """The size of the proxies, and how many are trained."""
        return arena.proxy, affordable(arena, self.name, flops)
