"""Folds of the training rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint


def random_folds(rows: int, folds: int, seed: int) -> NDArray[np.int64]:
    """A fold number for each row, shape (rows,): balanced and random; never fewer than two rows a fold."""
    count = max(2, min(folds, rows // 2))
    generator = np.random.Generator(np.random.PCG64(int(fingerprint("folds", seed), 16)))
    return generator.permutation(rows) % count
