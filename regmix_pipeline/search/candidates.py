"""Candidates of a search: mixtures drawn from all over a region, and around mixtures that are worth a closer look; and
the measured ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.search.region import Region, project_to_limits

Array = NDArray[np.float64]
SPARSE, EVEN = 0.3, 1.0
"""Concentrations of draws that know no prior: corners and edges of the simplex, and its middle."""
SPREAD, CLOSE = 3.0, 1000.0
"""Concentrations of the widest and the closest draws around a mixture."""
FEW = 200
"""Candidates inside a region below which more are sought on the way from those outside to a centre."""
WAYS = np.geomspace(0.5, 1e-3, 12)
"""How far on that way, as shares of it."""


def candidates_inside(region: Region, centres: Array, count: int, generator: np.random.Generator) -> Array:
    """Mixtures inside the region, (about 2 x count at most, d): half from all over it, half around the centres.

    Args:
        region: where they have to lie. In a narrow one, up to some 2,400 more are drawn near the centres inside.
        centres: mixtures, (m, d).
        count: of either half.
        generator: of the draws.

    >>> from regmix_pipeline.mixtures.limits import Limits
    >>> from regmix_pipeline.study.settings.search import SearchSettings
    >>> limits = Limits(("web", "code"), caps=np.array([0.8, 1.0]), floors=np.zeros(2))
    >>> region = Region.of(limits, np.array([0.7, 0.3]), np.eye(2), SearchSettings())
    >>> found = candidates_inside(region, np.array([[0.5, 0.5]]), 100, np.random.default_rng(0))
    >>> len(found), bool(region.allow(found).all())
    (200, True)
    """
    d, part = len(region.prior), count // 4
    prior = np.maximum(region.prior, 1e-3)
    flat = np.maximum(region.prior, 1e-3) ** 0.5
    shapes = np.concatenate(
        [
            np.tile(prior, (part, 1)),
            np.tile(flat / flat.sum() * d * SPARSE, (part, 1)),
            np.full((part, d), SPARSE),
            np.full((count - 3 * part, d), EVEN),
            *(
                np.geomspace(SPREAD, CLOSE, len(rows))[:, None] * (centre + 1e-3)
                for centre, rows in zip(centres, np.array_split(np.arange(count), len(centres)), strict=True)
            ),
        ]
    )
    drawn = generator.standard_gamma(shapes)
    found = project_to_limits(drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-300), region.limits)
    inside = found[region.allow(found)]
    held = centres[region.allow(centres)]
    if len(inside) >= FEW or not len(held):
        return inside
    ends = np.array_split(generator.permutation(found)[:FEW], len(held))
    pairs = zip(held, ends, strict=True)
    nearer = np.concatenate([centre + way * (end - centre) for centre, end in pairs for way in WAYS])
    return np.concatenate([inside, held, nearer[region.allow(nearer)]])


def best_measured(fitted: FittedRegressor, target_weights: Mapping[str, float], allowed: NDArray[np.bool_]) -> Array:
    """Measured mixtures, the one of least measured objective first, (at most n, d).

    Args:
        fitted: what was measured.
        target_weights: target -> weight in the objective.
        allowed: which of its rows count, (n,), such as those that a region allows.
    """
    values = (fitted.losses @ fitted.shares(target_weights))[allowed]
    return fitted.weights[allowed][np.argsort(values, kind="stable")]
