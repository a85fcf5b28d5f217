"""Candidates of a search: mixtures drawn from all over a region, and around mixtures that are worth a closer look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.search.region import Region, project_to_limits

Array = NDArray[np.float64]
SPARSE, EVEN = 0.3, 1.0
"""Concentrations of draws that know no prior: corners and edges of the simplex, and its middle."""
SPREAD, CLOSE = 3.0, 1000.0
"""Concentrations of the widest and the closest draws around a mixture."""


def candidates_inside(region: Region, centres: Array, count: int, generator: np.random.Generator) -> Array:
    """Mixtures inside the region, (at most 2 x count, d): half from all over it, half around the centres.

    Args:
        region: where they have to lie.
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
    return found[region.allow(found)]
