"""What a session is asked for, checked at the door."""

from __future__ import annotations

import numpy as np

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.strategies.arena import Array, Size


def check_steps(steps: int, taken: int, size: Size) -> None:
    """Raise ProxyError unless a run that has taken so many steps can take so many more."""
    if steps < 1 or taken + steps > size.steps:
        raise ProxyError(
            f"{steps} steps after {taken} of {size.steps}",
            where=size.name,
            remedy="take at least one, and none beyond the run's end",
        )


def checked_weights(weights: Array, domains: int) -> Array:
    """Weights of the domains, (d,). Raises ProxyError unless they are a point of the simplex."""
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (domains,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ProxyError(f"weights of shape {weights.shape}", where="weights", remedy=f"give {domains}, none negative")
    if abs(weights.sum() - 1) > 1e-6:
        raise ProxyError(f"weights sum to {weights.sum():.6g}", where="weights", remedy="normalise them")
    return weights


def checked_factors(factors: Array, domains: int) -> Array:
    """Factors of the domains' losses, (d,). Raises ProxyError unless there is one each, finite and not negative."""
    factors = np.asarray(factors, dtype=float)
    if factors.shape != (domains,) or not np.isfinite(factors).all() or (factors < 0).any():
        raise ProxyError(
            "loss weights are not one a domain", where="loss_weights", remedy=f"give {domains}, not negative"
        )
    return factors
