"""This package's own way: mixtures under the caps, regressors chosen by cross-validation, and the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rounds import how_chosen
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Run, Size
from regmix_pipeline.strategies.methods.experiments import (
    affordable,
    loss_table,
    objective_counted,
    sampled,
    smaller_proxy,
)
from regmix_pipeline.study.settings.mixtures import MixtureSettings, RoundSettings
from regmix_pipeline.study.settings.regression import RegressionSettings

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor


@dataclass(frozen=True)
class Ours:
    """What this package does by default (after Liu et al. 2024): rounds of mixtures, each chosen by what those before
    taught.

    Attributes:
        workers: threads that fit; None for one a core.
        rounds: how the mixtures are spread over rounds.
        regression: which regressors compete, and how they are fitted.
        counts: whether n-gram counts are used where the arena knows them.
    """

    name = "ours"
    code_version = "9"
    paper = "this package, after Liu et al., RegMix, 2407.01492"

    workers: int | None = None
    rounds: RoundSettings = field(default_factory=RoundSettings)
    regression: RegressionSettings = field(default_factory=RegressionSettings)
    counts: bool = True

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.strategies.methods.fitted_one import optimised

        size = self.size(arena)
        runs = self.trained(arena, affordable(arena, self.name, flops, size.flops), seed)
        fitted = self.fitted(arena, runs, seed)
        found = optimised(arena, fitted, objective_counted(arena), seed)
        return Choice.of(
            rounded_inside(found, arena.limits),
            proxies=len(runs),
            regressors=fitted.chosen,
        )

    def trained(self, arena: Arena, count: int, seed: int) -> list[Run]:
        """So many proxies in rounds; fewer, where n-gram counts are trusted."""
        settings = MixtureSettings(count=count, rounds=self.rounds)
        return trained_in_rounds(arena, self.size(arena), settings, seed, self._counted(arena))

    def fitted(self, arena: Arena, runs: Sequence[Run], seed: int, epochs: Array | None = None) -> FittedRegressor:
        """The regressors that cross-validation chooses for the proxies' losses; ``epochs`` at weight 1 of each run,
        (n, d), where they are not the arena's."""
        from regmix_pipeline.regression.fitting import fit

        weights, losses, targets = loss_table(arena, runs)
        return fit(
            weights,
            losses,
            None,
            arena.domains,
            targets,
            self.regression,
            seed,
            workers=self.workers,
            say=lambda _: None,
            epochs_per_weight=arena.epochs if epochs is None else epochs,
            predict_at=arena.epochs,
            evidence=self._counted(arena),
            counted=arena.objective,
            law_share=self.regression.law_share_for(self.size(arena).tokens, arena.target.tokens),
        )

    def _counted(self, arena: Arena) -> NgramEvidence | None:
        return arena.counted if self.counts else None

    def size(self, arena: Arena) -> Size:
        """Of the proxies."""
        return arena.proxy


def trained_in_rounds(
    arena: Arena, proxy: Size, settings: MixtureSettings, seed: int, counted: NgramEvidence | None = None
) -> list[Run]:
    """Proxies of the settings' count, round after round; of fewer, where n-gram counts are trusted."""
    judged = counted is not None and settings.pilot_sizes != settings.round_sizes
    first, *later = settings.pilot_sizes if judged else settings.round_sizes
    # The sampler chooses from a pool that grows with the count: what one round needs is asked for, and no more.
    drawn = sampled(arena, settings.model_copy(update={"count": first}), seed)
    runs = list(arena.train(drawn, proxy, seed))
    for number, size in enumerate(later, start=2):
        relied = judged and _trusted(arena, runs, counted, seed)
        how = how_chosen(number, judged, relied)
        if how == "none":
            break
        if how == "proposed":
            size = settings.rounds.trusted if relied else size
            mixtures = _next_round(arena, runs, size, settings, seed, number)
        else:
            both = settings.model_copy(update={"count": first + size})
            mixtures = sample(arena.prior, arena.limits, both, seed, drawn)[first:]
        runs += arena.train(mixtures, proxy, seed)
    return runs


def _trusted(arena: Arena, runs: Sequence[Run], counted: NgramEvidence | None, seed: int) -> bool:
    """Whether the runs confirm n-gram counts."""
    from regmix_pipeline.regression.trust import trust, trusted

    weights, losses, targets = loss_table(arena, runs)
    evidence = None if counted is None else counted.over(arena.domains, targets)
    if evidence is None:
        return False
    epochs = None if arena.epochs is None else arena.epochs.tolist()
    return trusted(trust(weights, losses, evidence, RegressionSettings().trust, epochs, seed))


def _next_round(
    arena: Arena, runs: Sequence[Run], size: int, settings: MixtureSettings, seed: int, number: int
) -> list[Mixture]:
    """The mixtures of a round, chosen by the runs of those before."""
    from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
    from regmix_pipeline.search.acquisition import Acquisition
    from regmix_pipeline.search.region import Region
    from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised
    from regmix_pipeline.study.settings.search import SearchSettings

    weights, losses, targets = loss_table(arena, runs)
    fitted = fitted_one(arena, "gaussian_process", GaussianProcessLaw(), weights, losses, targets)
    objective = objective_counted(arena)
    best = optimised(arena, fitted, objective, seed)
    region = Region.of(arena.limits, arena.prior, weights, SearchSettings())
    draw = int(fingerprint("round", seed, number)[:15], 16)
    picks = Acquisition(fitted, region, objective, best, draw).batch(size, settings.quantum, settings.rounds.rule)
    return [pick.mixture for pick in picks]


@dataclass(frozen=True)
class WithoutCounts(Ours):
    """The same by proxies alone, though n-gram counts are known."""

    name = "ours_without_counts"
    counts: bool = False


@dataclass(frozen=True)
class OneShot(WithoutCounts):
    """The same as `WithoutCounts` with all mixtures sampled at once: what rounds are worth."""

    name = "ours_one_shot"
    rounds: RoundSettings = field(default_factory=lambda: RoundSettings(number=1))


@dataclass(frozen=True)
class Small(WithoutCounts):
    """The same as `WithoutCounts` with more of the study's smaller proxies for the same compute."""

    name = "ours_small"

    def size(self, arena: Arena) -> Size:
        """Of the proxies.

        Raises:
            StudyError: the arena has no smaller proxy.
        """
        return smaller_proxy(arena, self.name)


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
        shares = objective_counted(arena)
        if "lightgbm" in self.regressor:
            settings = SearchSettings(method="simulation", candidates=self.candidates)
            found = simulated(arena, fitted, shares, settings, seed)
        else:
            found = optimised(arena, fitted, shares, seed)
        return Choice.of(rounded_inside(found, arena.limits), proxies=count, regressor=self.regressor)
