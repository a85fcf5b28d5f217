"""The best mixture under the limits, beside the natural and the uniform one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.search.result import SearchResult
from regmix_pipeline.search.settings import SearchSettings
from regmix_pipeline.search.simulation import simulate

Array = NDArray[np.float64]
PAIRS = 20_000
"""Pairs of residuals behind the chance that one mixture beats another."""


def search(
    fitted: FittedRegressor,
    prior: Array,
    limits: Limits,
    target_weights: Mapping[str, float],
    settings: SearchSettings | None = None,
    seed: int = 0,
    say: Say = to_stderr,
    level: float = 0.9,
) -> SearchResult:
    """Search the mixture with the least predicted objective inside the limits.

    Args:
        fitted: the study's regressors.
        prior: natural token distribution over ``fitted.domains``, (d,).
        limits: caps and floors of the same domains in the same order.
        target_weights: target -> weight in the objective; their weighted mean loss is minimised.
        settings: how to search.
        seed: same input and seed, same answer.
        say: where progress goes.
        level: coverage of the intervals.

    Raises:
        MixtureError: the limits leave no mixture, or domains do not match.
        RegressionError: an unknown target or bad target weights.
    """
    settings = settings or SearchSettings()
    prior = _checked_prior(prior, limits, fitted)
    found = simulate(lambda rows: fitted.objective(rows, target_weights), prior, limits, settings, seed, say)
    chosen = rounded_inside(found.mean, limits)
    uniform = np.full(len(prior), 1 / len(prior))
    observed = fitted.weights[int((fitted.losses @ fitted.shares(target_weights)).argmin())]
    named = {
        "chosen": chosen,
        "natural": rounded_inside(within_limits(prior, limits), limits),
        "uniform": rounded_inside(within_limits(uniform, limits), limits),
        "best_observed": Mixture.from_weights(dict(zip(fitted.domains, observed.tolist(), strict=True))),
    }
    return SearchResult(
        chosen,
        _domains(chosen, prior, limits),
        _predictions(fitted, named, target_weights, level),
        _gain(fitted, named["natural"], chosen, target_weights, level, seed),
        {
            "method": settings.method,
            "candidates": found.drawn,
            "beyond_limits": found.beyond,
            "beyond_limits_were": "projected" if settings.beyond_limits == "project" else "rejected",
            "scored": found.scored,
            "top_k": len(found.values),
            "best_value": float(found.values[0]),
        },
        _flags(fitted, chosen),
    )


def _checked_prior(prior: Array, limits: Limits, fitted: FittedRegressor) -> Array:
    prior = np.asarray(prior, dtype=float)
    if tuple(limits.domains) != tuple(fitted.domains):
        raise MixtureError("limits and regressor list different domains", where="limits", remedy="use the same order")
    if prior.shape != (len(fitted.domains),) or not np.isfinite(prior).all() or (prior < 0).any() or prior.sum() <= 0:
        raise MixtureError(
            "the prior must be one finite weight per domain", where="prior", remedy="check the inventory"
        )
    limits.check()
    return prior / prior.sum()


def _domains(chosen: Mixture, prior: Array, limits: Limits) -> list[dict[str, Any]]:
    """The chosen weight of every domain beside what bounds it."""
    rows = zip(limits.domains, chosen.vector(limits.domains), prior, limits.caps, limits.floors, strict=True)
    return [
        {
            "domain": domain,
            "weight": float(weight),
            "prior": float(natural),
            "cap": float(cap),
            "floor": float(floor),
            "at_cap": bool(cap < 1 and weight >= cap - 2e-6),
            "at_floor": bool(floor > 0 and weight <= floor + 2e-6),
        }
        for domain, weight, natural, cap, floor in rows
    ]


def _predictions(
    fitted: FittedRegressor, named: Mapping[str, Mixture], target_weights: Mapping[str, float], level: float
) -> list[dict[str, Any]]:
    """Predicted losses with intervals, of every named mixture on the objective and every target."""
    weights = np.array([mixture.vector(fitted.domains) for mixture in named.values()])
    each = fitted.predict(weights), *fitted.interval(weights, level)
    total = fitted.objective(weights, target_weights), *fitted.objective_interval(weights, target_weights, level)
    rows = []
    for i, (name, mixture) in enumerate(named.items()):
        values = {"objective": [float(part[i]) for part in total]}
        values |= {target: [float(part[i, column]) for part in each] for column, target in enumerate(fitted.targets)}
        rows += [
            {"name": name, "mixture": mixture.id, "target": target, "predicted": value, "low": low, "high": high}
            for target, (value, low, high) in values.items()
        ]
    return rows


def _gain(
    fitted: FittedRegressor,
    natural: Mixture,
    chosen: Mixture,
    target_weights: Mapping[str, float],
    level: float,
    seed: int,
) -> dict[str, float]:
    """How much lower the chosen mixture's objective is, nats per token, with the regressor's error at both ends.

    The error of a difference is the difference of two out-of-fold residuals drawn at random.
    """
    value = fitted.objective(np.array([m.vector(fitted.domains) for m in (natural, chosen)]), target_weights)
    predicted = float(value[0] - value[1])
    residual = (fitted.losses - fitted.out_of_fold) @ fitted.shares(target_weights)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = predicted + generator.choice(residual, PAIRS) - generator.choice(residual, PAIRS)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    same = natural == chosen
    return {
        "predicted": predicted,
        "low": 0.0 if same else float(low),
        "high": 0.0 if same else float(high),
        "chance_better_than_natural": 0.5 if same else float(np.mean(drawn > 0)),
    }


def _flags(fitted: FittedRegressor, chosen: Mixture) -> list[str]:
    """Domains whose chosen weight no proxy came near."""
    most = fitted.weights.max(axis=0)
    return [
        f"{domain}: weight {weight:.3f} is above the highest sampled, {highest:.3f}"
        for domain, weight, highest in zip(fitted.domains, chosen.vector(fitted.domains), most, strict=True)
        if weight > highest + 1e-6
    ]
