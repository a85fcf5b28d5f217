"""The best mixture under the limits, beside the natural and the uniform one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.anchors import reference_weights
from regmix_pipeline.mixtures.limits import ROUNDED, Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.assessment import (
    domain_rows,
    flags_of,
    gain_of,
    law_disagrees,
    ranges_of,
    sensitivity_of,
)
from regmix_pipeline.search.candidates import best_measured
from regmix_pipeline.search.guardrails import rounded_keeping
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import convex_program, optimise
from regmix_pipeline.search.pareto import pareto_front
from regmix_pipeline.search.region import Region, divergence, rounded_inside
from regmix_pipeline.search.result import SearchResult
from regmix_pipeline.search.simulation import simulate
from regmix_pipeline.study.coordinates import domain_of
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]


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
        target_weights: target -> weight in the objective.
        settings: how to search, and further limits.
        seed: same input and seed, same answer.
        say: where progress goes.
        level: coverage of the intervals.

    Raises:
        MixtureError: the limits leave no mixture, or domains do not match.
        RegressionError: an unknown target or bad target weights.
    """
    settings = settings or SearchSettings()
    prior = _checked_prior(prior, limits, fitted)
    references = named_mixtures(fitted, prior, limits, target_weights)
    natural = references["natural"]
    objective, region = asked(fitted, prior, limits, target_weights, settings, natural)
    weights, how, program, anchors = _searched(objective, region, settings, seed, say)
    chosen = rounded_keeping(objective.guardrails, region, weights, [objective.natural, *anchors])
    at = chosen.vector(fitted.domains)
    named = {"chosen": chosen, **references}
    gain = gain_of(objective, chosen, natural, region, level, seed)
    ranges = ranges_of(objective, region, at, program, seed)
    domains = domain_rows(region, chosen, sensitivity_of(objective, at, limits), ranges, fitted.weights)
    predictions = predictions_of(fitted, named, target_weights, level)
    guardrails = [] if objective.guardrails is None else objective.guardrails.rows(at)
    return SearchResult(
        chosen,
        domains,
        predictions,
        gain,
        how,
        [
            *_active(region, settings, domains, at),
            *(guardrail_name(row["target"]) for row in guardrails if row["active"]),
        ],
        [*flags_of(fitted, region, chosen, gain), *law_disagrees(predictions)],
        pareto_front(objective, region, settings, settings.pareto_points, seed, say),
        guardrails,
    )


def asked(
    fitted: FittedRegressor,
    prior: Array,
    limits: Limits,
    target_weights: Mapping[str, float],
    settings: SearchSettings,
    natural: Mixture | None = None,
) -> tuple[Objective, Region]:
    """What a search minimises, and where; arguments as of `search`, ``natural`` being the natural mixture as near as
    the limits allow where it is known already."""
    prior = _checked_prior(prior, limits, fitted)
    natural = natural or rounded_inside(reference_weights(prior, limits)["natural"], limits)
    region = Region.of(limits, prior, fitted.weights, settings)
    return Objective.of(fitted, target_weights, natural.vector(fitted.domains), settings), region


def named_mixtures(
    fitted: FittedRegressor, prior: Array, limits: Limits, target_weights: Mapping[str, float]
) -> dict[str, Mixture]:
    """What an answer is compared with: natural and uniform, as near as the limits allow, and best_observed, the best of
    the measured mixtures that the limits allow; left out where they allow none.

    Args:
        fitted: the study's regressors.
        prior: natural token distribution over ``fitted.domains``, (d,).
        limits: caps and floors of the same domains in the same order.
        target_weights: target -> weight in the objective, of which best_observed has the least measured mean loss.
    """
    references = reference_weights(prior, limits)
    found = {name: rounded_inside(weights, limits) for name, weights in references.items()}
    measured = best_measured(fitted, target_weights, limits.allow(fitted.weights, ROUNDED))
    if len(measured):
        found["best_observed"] = Mixture.at(fitted.domains, measured[0])
    return found


def _checked_prior(prior: Array, limits: Limits, fitted: FittedRegressor) -> Array:
    prior = np.asarray(prior, dtype=float)
    if tuple(limits.domains) != tuple(fitted.domains):
        raise MixtureError("limits and regressor list different domains", where="limits", remedy="use the same order")
    if prior.shape != (len(fitted.domains),) or not np.isfinite(prior).all() or (prior < 0).any() or prior.sum() <= 0:
        raise MixtureError("the prior must be one finite weight per domain", where="prior", remedy="see the inventory")
    limits.check()
    return prior / prior.sum()


def _searched(
    objective: Objective, region: Region, settings: SearchSettings, seed: int, say: Say
) -> tuple[Array, dict[str, Any], Any, Sequence[Array]]:
    """The answer (d,), how it was found, the law's convex program where it has one, and mixtures that keep every
    guardrail."""
    if settings.method == "optimiser":
        found = optimise(objective, region, settings, seed, say)
        how = {"method": "optimiser", "solver": found.how, "law": found.law, "refined": found.refined}
        how["law_share"] = objective.fitted.law_share if found.law else 0.0
        return found.weights, how, found.convex, found.anchors
    found = simulate(objective, region, settings, seed, say)
    how = {
        "method": "simulation",
        "candidates": found.drawn,
        "beyond_limits": found.beyond,
        "beyond_limits_were": "projected" if settings.beyond_limits == "project" else "rejected",
        "scored": found.drawn - found.dropped,
        "screened_by": found.screened_by,
        "top_k": len(found.values),
        "best_value": float(found.values[0]),
    }
    return found.mean, how, convex_program(objective, region), list(found.best)


def predictions_of(
    fitted: FittedRegressor, named: Mapping[str, Mixture], target_weights: Mapping[str, float], level: float
) -> list[dict[str, Any]]:
    """Predicted losses of every named mixture on the objective and every target: by the chosen regressors with
    intervals, and by the pure law beside them."""
    weights = np.array([mixture.vector(fitted.domains) for mixture in named.values()])
    law = fitted.law
    each = fitted.predict(weights), *fitted.interval(weights, level)
    total = fitted.objective(weights, target_weights), *fitted.objective_interval(weights, target_weights, level)
    if law is not None:
        each, total = (*each, fitted.predict(weights, law)), (*total, fitted.objective(weights, target_weights, law))
    rows = []
    for i, (name, mixture) in enumerate(named.items()):
        values = {"objective": [float(part[i]) for part in total]}
        values |= {target: [float(part[i, column]) for part in each] for column, target in enumerate(fitted.targets)}
        rows += [
            {
                "name": name,
                "mixture": mixture.id,
                "target": target,
                "predicted": value,
                "low": low,
                "high": high,
                "law": law,
                "predicted_by_law": by_law[0] if by_law else None,
            }
            for target, (value, low, high, *by_law) in values.items()
        ]
    return rows


def guardrail_name(target: str) -> str:
    """What a guardrail is called among the limits that hold an answer back."""
    return f"guardrail of {target}"


def _active(region: Region, settings: SearchSettings, domains: list[dict[str, Any]], at: Array) -> list[str]:
    """The limits that the answer touches."""
    # Of phases that are chosen at once, one limit holds the weights of a domain in all of them.
    found = list(dict.fromkeys(f"cap of {domain_of(row['domain'])}" for row in domains if row["at_cap"]))
    found += dict.fromkeys(f"floor of {domain_of(row['domain'])}" for row in domains if row["at_floor"])
    for group, member in zip(settings.groups, region.groups, strict=True):
        total = float(member @ at)
        if total >= group.cap - 1e-4 or (group.floor > 0 and total <= group.floor + 1e-4):
            found.append(f"group {', '.join(group.domains)}")
    if np.isfinite(region.max_divergence) and divergence(at[None], region.prior)[0] >= region.max_divergence - 1e-3:
        found.append("divergence from the prior")
    if np.isfinite(region.trust_radius) and region.distance(at[None])[0] >= region.trust_radius - 1e-3:
        found.append("trust radius")
    return found
