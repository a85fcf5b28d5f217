"""What a domain's weight does to the losses, by the evidence of a decision: the curve through the chosen point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.mixtures.together import range_of
from regmix_pipeline.search.assessment import one_point_perturbations, standard_error_at
from regmix_pipeline.search.region import above_sampled, project_to_limits, usual_distance

Array = NDArray[np.float64]
STEPS = 40
"""Intervals of the curve between the ends of the weight."""
LEVEL = 0.9
FLAT = 0.02
"""An effect per point below this share of the usual error of a prediction is negligible."""


@dataclass(frozen=True)
class Path:
    """Mixtures in which one domain's weight goes from its lowest to its highest and the others keep their proportions.

    Attributes:
        domain: column of the domain.
        weights: the mixtures, (m, d), the domain's weight increasing.
        chosen: row of the chosen mixture.
    """

    domain: int
    weights: Array
    chosen: int


def path_of(evidence: Evidence, domain: str) -> Path:
    """The path along which ``domain`` is explained.

    The others shrink or grow in proportion as far as their own caps and floors allow; the ends are where the domain's
    own limits or theirs allow no further.
    """
    _, limits = evidence.prior_and_limits
    j = evidence.domains.index(domain)
    at = int(np.rint(evidence.chosen[j] * PARTS))
    if limits.together is not None:
        low, high = range_of(j, limits.caps, limits.floors, limits.together)
    else:
        others = np.arange(len(evidence.domains)) != j
        low = max(limits.floors[j], 1 - limits.caps[others].sum())
        high = min(limits.caps[j], 1 - limits.floors[others].sum())
    ends = int(np.ceil(max(low, 0.0) * PARTS - 1e-6)), int(np.floor(min(high, 1.0) * PARTS + 1e-6))
    steps = np.unique(np.r_[np.rint(np.linspace(*ends, STEPS + 1)).astype(int), at])
    rows = np.array([_with_weight(evidence.chosen, limits, j, part / PARTS) for part in steps])
    row = int(np.searchsorted(steps, at))
    rows[row] = evidence.chosen
    return Path(j, rows, row)


def _with_weight(chosen: Array, limits: Limits, j: int, weight: float) -> Array:
    floors, caps = limits.floors.copy(), limits.caps.copy()
    floors[j] = caps[j] = weight
    return project_to_limits(chosen[None], limits.with_bounds(caps, floors))[0]


def curve_of(evidence: Evidence, path: Path) -> list[dict[str, Any]]:
    """The curve, one point a row: the weight, losses with intervals, and how far it is to be trusted.

    Each row has weight; objective and targets, each with predicted, low, high (90% interval of a proxy's loss, nats per
    token); difference (what the search minimises, minus its value at the chosen point) and its values by_law;
    within_one_standard_error of the chosen point; distance to the nearest trained mixture (Hellinger), and sampled,
    whether that is usual among trained mixtures and no weight is above the highest sampled; allowed, whether groups,
    divergence, trust radius and guardrails allow it too.
    """
    fitted, objective = evidence.fitted, evidence.objective
    points = path.weights
    predicted, (low, high) = fitted.predict(points), fitted.interval(points, LEVEL)
    total = fitted.objective(points, evidence.target_weights)
    least, most = fitted.objective_interval(points, evidence.target_weights, LEVEL)
    value = objective(points)
    difference = value - value[path.chosen]
    by_law = None if fitted.law is None else objective(points, fitted.law)
    error = standard_error(evidence)
    distance = evidence.region.distance(points)
    sampled = (distance <= max(usual_distance(fitted.weights), float(distance[path.chosen]))) & ~above_sampled(
        points, fitted.weights
    )[:, path.domain]
    allowed = evidence.region.allow(points) & objective.keeps(points)
    return [
        {
            "weight": float(points[i, path.domain]),
            "objective": {"predicted": float(total[i]), "low": float(least[i]), "high": float(most[i])},
            "difference": float(difference[i]),
            "difference_by_law": None if by_law is None else float(by_law[i] - by_law[path.chosen]),
            "targets": {
                target: {"predicted": float(predicted[i, c]), "low": float(low[i, c]), "high": float(high[i, c])}
                for c, target in enumerate(fitted.targets)
            },
            "within_one_standard_error": bool(difference[i] <= error),
            "distance": float(distance[i]),
            "sampled": bool(sampled[i]),
            "allowed": bool(allowed[i]),
            "mixture": dict(zip(evidence.domains, points[i].tolist(), strict=True)),
        }
        for i in range(len(points))
    ]


def standard_error(evidence: Evidence) -> float:
    """Standard error of the mean objective predicted at the chosen mixture, nats per token; what ranges are based
    on."""
    return standard_error_at(evidence.fitted, evidence.target_weights, evidence.chosen)


def effects_of(evidence: Evidence, domain: str) -> list[dict[str, Any]]:
    """What a percentage point more of the domain, at all others' expense, does at the chosen point; a row a target.

    Each row has target (or "objective"), share of the objective, sensitivity (nats per token per point, negative
    helps), by_law, agree (regressors that see the same sign, of those that see any) and verdict: helps, hurts, flat
    (nothing beside the error of a prediction; so the objective should be at its best point) or undecided (fewer than
    three in four regressors see this sign).
    """
    fitted = evidence.fitted
    j = evidence.domains.index(domain)
    points = np.array([evidence.chosen, one_point_perturbations(evidence.chosen, evidence.region.limits)[j]])
    share = fitted.shares(evidence.target_weights)
    mixes = {"objective": share} | {target: np.eye(len(share))[c] for c, target in enumerate(fitted.targets)}
    chosen = np.diff(fitted.predict(points), axis=0)[0]
    each = {name: np.diff(fitted.predict(points, name), axis=0)[0] for name in fitted.models}
    rows = []
    for target, mix in mixes.items():
        change = float(chosen @ mix)
        others = [float(one @ mix) for one in each.values() if abs(one @ mix) > 1e-9]
        agreeing = sum(np.sign(one) == np.sign(change) for one in others)
        errors = np.std((fitted.losses - fitted.out_of_fold) @ mix)
        split = 4 * agreeing < 3 * len(others)
        side = "helps" if change < 0 else "hurts"
        rows.append(
            {
                "target": target,
                "share": 1.0 if target == "objective" else float(evidence.target_weights.get(target, 0.0)),
                "sensitivity": change,
                "by_law": None if fitted.law is None else float(each[fitted.law] @ mix),
                "agree": [int(agreeing), len(others)],
                "verdict": "flat" if abs(change) < FLAT * errors else "undecided" if split else side,
            }
        )
    return rows
