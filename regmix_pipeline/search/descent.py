"""One descent by SLSQP inside a region and within guardrails, and whether its end is inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from regmix_pipeline.mixtures.together import Together
from regmix_pipeline.search.guardrails import MARGIN, Guardrails
from regmix_pipeline.search.objective import Objective, with_derivatives
from regmix_pipeline.search.region import Region, divergence, project_to_limits

Array = NDArray[np.float64]


def descend(
    of: Callable[[Array], Array], region: Region, start: Array, steps: int, guardrails: Guardrails | None = None
) -> Array:
    """Where SLSQP ends from a start, (d,); perhaps a little outside the region, or beyond a guardrail."""
    answer = minimize(
        lambda w: Objective.with_gradient(np.maximum(w, 0), of),
        start,
        jac=True,
        bounds=list(zip(region.limits.floors, region.limits.caps, strict=True)),
        constraints=_constraints(region, start, guardrails),
        method="SLSQP",
        options={"maxiter": steps, "ftol": 1e-9},
    )
    return np.maximum(answer.x, 0)


def rounded_off(weights: Array | None, region: Region) -> Array | None:
    """The solver's answer with its last digits put right, or None when it is not inside."""
    if weights is None or not np.isfinite(weights).all() or weights.sum() <= 0:
        return None
    moved = project_to_limits((weights / weights.sum())[None], region.limits)[0]
    return moved if region.allow(moved[None], 1e-5)[0] else None


def _of_phases(together: Together) -> list[dict]:
    """What the weights of phases and of domains sum to."""
    (P, D), shares = together.matrices(), together.shares
    capped, floored = together.caps < 1, together.floors > 0
    upper, lower = D[capped], D[floored]
    found: list[dict] = [{"type": "eq", "fun": lambda w: P @ w - shares, "jac": lambda w: P}]
    if len(upper):
        found.append({"type": "ineq", "fun": lambda w: together.caps[capped] - upper @ w, "jac": lambda w: -upper})
    if len(lower):
        found.append({"type": "ineq", "fun": lambda w: lower @ w - together.floors[floored], "jac": lambda w: lower})
    return found


def _constraints(region: Region, start: Array, guardrails: Guardrails | None) -> list[dict]:
    found: list[dict] = [{"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)}]
    if (together := region.limits.together) is not None:
        found = _of_phases(together)
    if len(region.groups):
        G = region.groups
        found.append({"type": "ineq", "fun": lambda w: region.group_caps - G @ w, "jac": lambda w: -G})
        found.append({"type": "ineq", "fun": lambda w: G @ w - region.group_floors, "jac": lambda w: G})
    if np.isfinite(region.max_divergence):
        found.append(
            {
                "type": "ineq",
                "fun": lambda w: region.max_divergence - divergence(np.maximum(w, 0)[None], region.prior)[0],
            }
        )
    if np.isfinite(region.trust_radius):
        overlap = np.sqrt(region.observed) @ np.sqrt(start)
        centre = np.sqrt(region.observed[int(overlap.argmax())])
        found.append({"type": "ineq", "fun": lambda w: centre @ np.sqrt(np.maximum(w, 0)) - 1 + region.trust_radius**2})
    if guardrails is not None:
        found.append(
            {
                "type": "ineq",
                "fun": lambda w: guardrails.slack(np.maximum(w, 0)[None])[0] - MARGIN,
                "jac": lambda w: with_derivatives(np.maximum(w, 0), guardrails.slack)[1].T,
            }
        )
    return found
