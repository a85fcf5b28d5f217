"""The capped simplex: moving mixtures into it, and rounding inside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture

Array = NDArray[np.float64]
HALVINGS = 60
TINY = 1e-12


def feasible(limits: Limits) -> None:
    """Raise MixtureError, naming the caps, when no mixture respects the limits."""
    limits.check()


def moved_inside(weights: Array, limits: Limits) -> Array:
    """Each row's nearest mixture in KL divergence within caps and floors, (m, d) -> (m, d).

    w_i = clip(s x weights_i, floor_i, cap_i), the s of each row found by bisection: domains away from their bounds keep
    their proportions. Rows whose positive domains cannot fill a mixture spread the rest over the others.
    """
    # A hair of every domain lets a sparse row reach 1 at all; it stays a hair unless it is needed.
    base = np.maximum(weights, TINY * np.maximum(limits.caps, TINY))
    # At the upper end every domain with a positive cap is at its cap, and the caps sum to 1 at least.
    low, high = np.full(len(base), -1.0), np.full(len(base), np.log(1 / TINY**2))
    low = low * np.log(1 / TINY**2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = np.clip(np.exp(middle)[:, None] * base, limits.floors, limits.caps).sum(axis=1) < 1
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    inside = np.clip(np.exp(high)[:, None] * base, limits.floors, limits.caps)
    return np.where(inside < 2 * TINY, limits.floors, inside)


def rounded_inside(weights: Array, limits: Limits) -> Mixture:
    """A point of the capped simplex, (d,), in whole parts per million that respect the limits and sum to 1 exactly.

    Raises:
        MixtureError: the limits leave no mixture.
    """
    limits.check()
    least, most = (np.rint(bound * PARTS).astype(np.int64) for bound in (limits.floors, limits.caps))
    exact = weights * PARTS
    parts = np.clip(np.floor(exact + 1e-6).astype(np.int64), least, most)
    while (missing := PARTS - int(parts.sum())) != 0:
        step = 1 if missing > 0 else -1
        room = (most - parts) if missing > 0 else (parts - least)
        # Largest remainder first; domains of weight zero only when no other has room.
        order = np.lexsort((-step * (exact - parts), exact <= 0.5))
        order = order[room[order] > 0]
        if not len(order):
            raise MixtureError("no whole parts per million respect the limits", remedy="widen a cap or a floor")
        if abs(missing) > len(order):
            share = max(abs(missing) // len(order), 1)
            parts[order] += step * np.minimum(room[order], share)
        else:
            parts[order[: abs(missing)]] += step
    return Mixture.of(dict(zip(limits.domains, parts.tolist(), strict=True)))
