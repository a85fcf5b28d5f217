"""Folds of the training rows: at random, and by region, which asks for extrapolation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint

Folds = NDArray[np.int64]
REGION_SHARE = 0.12
"""Share of the rows in each region left out."""
REGIONS = 4
FEWEST_ROWS_BY_REGION = 32


def random_folds(rows: int, folds: int, seed: int) -> Folds:
    """A fold number for each row, shape (rows,): balanced and random; never fewer than two rows a fold.

    >>> np.bincount(random_folds(7, folds=3, seed=1)).tolist()
    [3, 2, 2]
    """
    count = max(2, min(folds, rows // 2))
    generator = np.random.Generator(np.random.PCG64(int(fingerprint("folds", seed), 16)))
    return generator.permutation(rows) % count


def region_folds(weights: NDArray[np.float64]) -> Folds | None:
    """Regions left out whole, shape (n,): the rows heaviest in each of the most varied domains, and the densest corner.

    A row belongs to one region at most; -1 marks rows that are always trained on. None when there are too few rows for
    regions to mean anything.
    """
    n, d = weights.shape
    if n < FEWEST_ROWS_BY_REGION:
        return None
    size = max(2, round(REGION_SHARE * n))
    fold = np.full(n, -1)
    varied = np.argsort(-weights.std(axis=0), kind="stable")[: min(REGIONS - 1, d)]
    for number, domain in enumerate(varied):
        order = np.argsort(-weights[:, domain], kind="stable")
        fold[order[fold[order] < 0][:size]] = number
    # Hellinger's distance to the nearest neighbours says how crowded it is around a mixture.
    root = np.sqrt(weights)
    distance = np.sqrt(np.maximum(2 - 2 * root @ root.T, 0.0))
    crowded = np.sort(distance, axis=1)[:, min(5, n - 1)]
    centre = int(crowded.argmin())
    order = np.argsort(distance[centre], kind="stable")
    fold[order[fold[order] < 0][:size]] = len(varied)
    return fold
