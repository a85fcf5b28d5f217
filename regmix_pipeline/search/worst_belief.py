"""What the Gaussian process believes of a worst case: the largest weighted difference of a target's loss to the natural
mixture's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw, JointPosterior

Array = NDArray[np.float64]
DRAWS = 256
"""Functions drawn for every target."""


def worst_of(losses: Array, natural: Array, share: Array) -> Array:
    """The worst case of mixtures, nats per token, (m,).

    Args:
        losses: of the counted targets, (m, T).
        natural: the natural mixture's, (T,).
        share: weights of the targets in the objective, (T,); the largest counts 1.

    >>> worst_of(np.array([[2.0, 3.0], [2.5, 2.0]]), np.array([2.5, 2.5]), np.array([0.5, 0.5])).tolist()
    [0.5, 0.0]
    """
    return ((losses - natural) * (share / share.max())).max(axis=1)


def worst_belief(
    process: GaussianProcessLaw, points: Array, natural: Array, share: Array, generator: np.random.Generator
) -> JointPosterior:
    """Mean and covariance of the worst case of mixtures, of functions drawn from the process, target by target.

    The largest of several Gaussians is not Gaussian; rules that choose a batch take it for one.

    Args:
        process: fitted to all targets.
        points: mixtures, (m, d).
        natural: the mixture that losses are compared with, (d,).
        share: weights of all targets in the objective, (T,).
        generator: of the draws.
    """
    counted = np.flatnonzero(share)
    both = np.concatenate([points, natural[None]])
    drawn = np.empty((len(counted), len(points), DRAWS))
    noise = 0.0
    for each, j in enumerate(counted):
        scale = share[j] / share.max()
        belief = process.joint_posterior(both, np.eye(len(share))[j])
        values = belief.mean[:, None] + square_root(belief.covariance) @ generator.standard_normal((len(both), DRAWS))
        drawn[each] = scale * (values[:-1] - values[-1])
        noise = max(noise, scale**2 * belief.noise)
    worst = drawn.max(axis=0)
    mean = worst.mean(axis=1)
    apart = worst - mean[:, None]
    return JointPosterior(mean, apart @ apart.T / (DRAWS - 1), noise)


def square_root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is the covariance, (m, m)."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))
