"""One regressor in the place of a chosen one, and the package's two searches over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import optimise
from regmix_pipeline.search.region import Region
from regmix_pipeline.search.simulation import simulate
from regmix_pipeline.strategies.arena import Arena, Array
from regmix_pipeline.study.settings.search import SearchSettings


def fitted_one(
    arena: Arena, name: str, model: MixtureRegressor, weights: Array, losses: Array, targets: Sequence[str]
) -> FittedRegressor:
    """A model fitted to all rows, as the regressor of every target, without folds or a choice.

    Args:
        arena: whose domains the columns are.
        name: of the regressor.
        model: unfitted, or fitted to these rows before.
        weights: (n, d).
        losses: (n, T).
        targets: names of the T columns.
    """
    if not hasattr(model, "learned_"):
        model.fit(weights, losses)
    return FittedRegressor(
        domains=arena.domains,
        targets=tuple(targets),
        weights=weights,
        losses=losses,
        chosen=dict.fromkeys(targets, name),
        out_of_fold=np.full_like(losses, np.nan),
        scores=[],
        models={name: model},
        blend={target: {name: 1.0} for target in targets},
        stack={},
        spread=np.ones_like(losses),
    )


def optimised(
    arena: Arena, fitted: FittedRegressor, target_weights: Mapping[str, float], seed: int, limits: Limits | None = None
) -> Array:
    """What the package's optimiser finds under the arena's limits, (d,), or under others."""
    objective, region, settings = _question(arena, fitted, target_weights, SearchSettings(), limits)
    return optimise(objective, region, settings, seed, _silent).weights


def simulated(
    arena: Arena,
    fitted: FittedRegressor,
    target_weights: Mapping[str, float],
    settings: SearchSettings,
    seed: int,
    limits: Limits | None = None,
) -> Array:
    """What RegMix's simulation finds under the arena's limits, (d,), or under others."""
    objective, region, settings = _question(arena, fitted, target_weights, settings, limits)
    return simulate(objective, region, settings, seed, _silent).mean


def no_limits(arena: Arena) -> Limits:
    """The whole simplex."""
    d = len(arena.domains)
    return Limits(arena.domains, np.ones(d), np.zeros(d))


def _question(
    arena: Arena,
    fitted: FittedRegressor,
    target_weights: Mapping[str, float],
    settings: SearchSettings,
    limits: Limits | None,
) -> tuple[Objective, Region, SearchSettings]:
    region = Region.of(limits or arena.limits, arena.prior, fitted.weights, settings)
    return Objective(fitted, target_weights, arena.prior), region, settings


def _silent(_: str) -> None:
    """Strategies say what they found in their details."""
