"""What each run weighs where the regressors are fitted that a search minimises."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.fitted import FittedRegressor

FEWEST = 24
"""Rows from which good mixtures are told from bad ones. With fewer, a few good ones are good by luck."""
RESAMPLES = 12
"""Fits of reweighted rows where there are fewer."""
DEVIATIONS = 2.0
"""Standard deviations of a proxy's noise by which two measured losses have to differ to say which mixture is better."""


def search_weights(fitted: FittedRegressor, counted: Mapping[str, float] | None, near: float, seed: int = 0) -> Array:
    """Factors on the rows' weights, (k, n), a row a fit: a search minimises the mean of the k fits.

    One fit with more weight on good mixtures (see `emphasis_of`); with fewer than `FEWEST` rows, `RESAMPLES` fits with
    weights drawn at random (the Bayesian bootstrap, Rubin 1981). A fit to few rows follows the luck of each, and its
    minimum is where luck is best; what luck alone makes differs from fit to fit.

    Args:
        fitted: the regressors fitted to all rows alike.
        counted: target -> weight in the objective; default the same for all.
        near: share of the rows that count as good; 0 for no such fit.
        seed: of the weights drawn.

    Returns:
        (0, n) where a search takes the regressors fitted to all rows alike.
    """
    n = len(fitted.weights)
    if not near:
        return np.zeros((0, n))
    if n < FEWEST:
        drawn = np.random.Generator(np.random.PCG64(seed)).standard_exponential((RESAMPLES, n))
        return drawn / drawn.mean(axis=1, keepdims=True)
    emphasis = emphasis_of(fitted, counted, near)
    return np.zeros((0, n)) if emphasis is None else emphasis[None]


def emphasis_of(fitted: FittedRegressor, counted: Mapping[str, float] | None, near: float) -> Array | None:
    """What a row weighs more the better its mixture is, (n,), mean 1: 1 / (1 + (gap / scale)^2) of its objective's gap
    to the best one's. The scale is the gap that a share ``near`` of the rows stays below, and the root mean square of
    that and `DEVIATIONS` of a proxy's noise as the Gaussian process estimates it: a smaller gap tells nothing. None
    where the scale is 0.

    A search asks which of the good mixtures is best, and there a law fitted to all rows alike follows the bad ones,
    whose losses differ by more.
    """
    share = np.array([1.0 if counted is None else counted.get(target, 0.0) for target in fitted.targets])
    share = share / share.sum()
    gap = fitted.losses @ share
    gap = gap - gap.min()
    scale = float(np.quantile(gap, near))
    if fitted.process is not None:
        noise = fitted.process.joint_posterior(fitted.weights[:1], share).noise
        scale = float(np.hypot(scale, DEVIATIONS * noise**0.5))
    if scale <= 0:
        return None
    weight = 1 / (1 + (gap / scale) ** 2)
    return weight / weight.mean()
