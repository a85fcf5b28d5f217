"""The least value of any function of mixtures under caps and floors: mirror descent from many starts at once.

The package's optimiser minimises fitted regressors with SLSQP, whose steps cost the cube of the domains. What is known
in full, such as a synthetic world or a law with one term a domain, asks for thousands of cheap evaluations instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.search.region import project_to_limits
from regmix_pipeline.strategies.arena import Array

STEP = 1e-6
"""Step of the differences that represent derivatives, relative to a weight of 1."""
LEAST = 1e-9
"""Weight that a domain keeps, so that it can come back."""


def minimised(
    value: Callable[[Array], Array], limits: Limits, starts: Array, iterations: int = 400, finish: int = 400
) -> Array:
    """The mixture of least value that exponentiated gradient steps lead to, (d,).

    Each step multiplies weights by exp(-rate x derivative) and moves the result to the nearest mixture inside in
    Kullback-Leibler divergence, which is that step's own geometry. Rates double after a step that helped and halve
    after one that did not. The best half-way goes on alone for ``finish`` steps.

    Args:
        value: of mixtures (n, d) -> (n,).
        limits: caps and floors.
        starts: mixtures, (s, d).
        iterations: steps of all starts.
        finish: further steps of the best.
    """
    at = project_to_limits(np.maximum(starts, LEAST), limits)
    now, rate = value(at), np.full(len(at), 1.0)
    for step in range(iterations + finish):
        if step == iterations:
            best = int(now.argmin())
            at, now, rate = at[[best]], now[[best]], np.ones(1)
        slope = _slopes(value, at)
        slope = slope - (at * slope).sum(axis=1, keepdims=True)
        moved = np.maximum(at, LEAST) * np.exp(np.clip(-rate[:, None] * slope, -30.0, 30.0))
        trial = project_to_limits(moved / moved.sum(axis=1, keepdims=True), limits)
        found = value(trial)
        better = found < now
        at, now = np.where(better[:, None], trial, at), np.where(better, found, now)
        rate = np.clip(np.where(better, rate * 2, rate / 2), 1e-12, 1e9)
    return at[int(now.argmin())]


def _slopes(value: Callable[[Array], Array], at: Array) -> Array:
    """Derivatives at mixtures (s, d), by differences."""
    s, d = at.shape
    back = np.minimum(at, STEP)  # weights stay at or above zero
    ahead = (at[:, None, :] + STEP * np.eye(d)).reshape(-1, d)
    behind = (at[:, None, :] - back[:, :, None] * np.eye(d)).reshape(-1, d)
    return (value(ahead) - value(behind)).reshape(s, d) / (STEP + back)
