"""Losses of larger models from those of smaller ones on the same mixtures."""

from __future__ import annotations

import numpy as np

from regmix_pipeline.regression.steps import POWERS
from regmix_pipeline.strategies.arena import Array


def size_law(losses: Array, parameters: Array, at: float) -> Array:
    """L_m(at) of the least-squares law L_m(N) = E + B_m N^-b with E >= 0 and b shared by all mixtures, (n,).

    The size law of Data Mixing Laws (Ye et al., arXiv 2403.16952, section 4) has three parameters a mixture and wants
    as many sizes. Sharing floor and power lets two sizes do, as long as there are a few mixtures. Given the power the
    law is linear, so all powers of a grid are tried.

    Args:
        losses: of one target, nats per token, (n, K), K >= 2.
        parameters: of the models, (K,).
        at: parameters of the model that is extrapolated.
    """
    best: tuple[float, Array] | None = None
    lowest = float(losses.min())
    for power in POWERS:
        x = (parameters / at) ** -power  # (K,); 1 at the size asked for
        # What a mixture's own slope cannot explain of the losses, and of a constant.
        residual = losses - np.outer(losses @ x, x) / (x @ x)
        constant = 1 - x * (x.sum() / (x @ x))
        floor = float(
            np.clip((residual @ constant).sum() / max(len(losses) * (constant @ constant), 1e-300), 0, lowest)
        )
        slope = (losses - floor) @ x / (x @ x)
        error = float(((losses - floor - np.outer(slope, x)) ** 2).sum())
        if best is None or error < best[0]:
            best = error, floor + slope
    assert best is not None
    return best[1]
