"""This package's own way: mixtures under the caps, regressors chosen by cross-validation, and the optimiser."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, sampled
from regmix_pipeline.study.settings.mixtures import MixtureSettings


@dataclass(frozen=True)
class Ours:
    """What this package does by default (after Liu et al. 2024).

    Attributes:
        workers: threads that fit; None for one a core.
    """

    name = "ours"
    paper = "this package, after Liu et al., RegMix, 2407.01492"

    workers: int | None = None

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.fitting import fit
        from regmix_pipeline.strategies.methods.fitted_one import optimised

        count = affordable(arena, self.name, flops)
        runs = arena.train(sampled(arena, MixtureSettings(count=count), seed), arena.proxy, seed)
        weights, losses, targets = loss_table(arena, runs)
        fitted = fit(
            weights,
            losses,
            None,
            arena.domains,
            targets,
            seed=seed,
            workers=self.workers,
            say=lambda _: None,
            epochs_per_weight=arena.epochs,
            predict_at=arena.epochs,
        )
        found = optimised(arena, fitted, {target: arena.objective[target] for target in targets}, seed)
        return Choice.of(rounded_inside(found, arena.limits), proxies=count, regressors=fitted.chosen)


@dataclass(frozen=True)
class OneRegressor:
    """The same with one regressor of the package's catalogue instead of a choice among them.

    Trees are searched by the simulation, since they are flat almost everywhere; the others by the optimiser.

    Attributes:
        regressor: its name in `regression.catalogue`.
        candidates: of the simulation, under the limits.
    """

    name = "one_regressor"
    paper = "this package, after Liu et al., RegMix, 2407.01492"

    regressor: str = "saturation"
    candidates: int = 20_000

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.regression.catalogue import regressor
        from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised, simulated
        from regmix_pipeline.study.settings.search import SearchSettings

        count = affordable(arena, self.regressor, flops)
        runs = arena.train(sampled(arena, MixtureSettings(count=count), seed), arena.proxy, seed)
        weights, losses, targets = loss_table(arena, runs)
        fitted = fitted_one(arena, self.regressor, regressor(self.regressor), weights, losses, targets)
        shares = {target: arena.objective[target] for target in targets}
        if "lightgbm" in self.regressor:
            settings = SearchSettings(method="simulation", candidates=self.candidates)
            found = simulated(arena, fitted, shares, settings, seed)
        else:
            found = optimised(arena, fitted, shares, seed)
        return Choice.of(rounded_inside(found, arena.limits), proxies=count, regressor=self.regressor)
