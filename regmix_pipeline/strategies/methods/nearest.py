"""The answer of a method that knows no limits, as near to it as the limits allow."""

from __future__ import annotations

from typing import Any

import numpy as np

from regmix_pipeline.search.region import project_to_limits, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice


def inside(arena: Arena, weights: Array) -> Array:
    """The mixture nearest to ``weights`` (d,) in Kullback-Leibler divergence within caps and floors, (d,)."""
    return weights if arena.limits.allow(weights[None])[0] else project_to_limits(weights[None], arena.limits)[0]


def nearest(arena: Arena, weights: Array, **details: Any) -> Choice:
    """A choice of one mixture, with what moving it inside the limits changed among its details.

    Args:
        arena: whose limits.
        weights: what the method chose, (d,), summing to 1.
        details: what else there is to say.
    """
    moved = inside(arena, weights)
    distance = float(np.abs(moved - weights).sum() / 2)
    return Choice.of(
        rounded_inside(moved, arena.limits), **details, project_to_limits=distance > 1e-9, moved_by=round(distance, 6)
    )
