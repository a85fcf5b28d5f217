"""What a domain's tokens are worth when a run sees them more than once."""

from __future__ import annotations

import numpy as np

from regmix_pipeline.regression.estimator import Array

DECAY = 15.4
"""Repetitions after which a token's worth has fallen to 1/e: R*_D of Muennighoff et al., arXiv 2305.16264."""


def worth(weights: Array, epochs_per_weight: Array, decay: float | Array = DECAY) -> Array:
    """Weights as far as they bring something new, (n, d): w for the first epoch, then less and less.

    With e = w x tokens / available epochs, a domain is worth w (1 + R (1 - exp(-(e - 1) / R))) / e beyond one epoch
    (Muennighoff et al. 2023, equation 5).

    Args:
        weights: (n, d).
        epochs_per_weight: epochs of a domain at weight 1, that is tokens / available tokens, (d,) or row by row (n, d).
        decay: R in repetitions, of all domains alike or of each, (d,).
    """
    epochs = weights * epochs_per_weight
    repeated = np.maximum(epochs - 1, 0.0)
    return weights * np.where(epochs > 1, (1 + decay * -np.expm1(-repeated / decay)) / np.maximum(epochs, 1.0), 1.0)
