"""What a mixture may weigh: caps from the tokens available and how often they may be repeated, and floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS

ROUNDED = 1e-4
"""Slack of limits for mixtures that were not rounded to keep them to the last digit."""
FULL = 1 - 1e-9
"""What counts as a sum of 1: caps such as .7 + .2 + .1 fall a rounding error short of it."""


@dataclass(frozen=True)
class Limits:
    """Bounds on each domain's weight.

    Attributes:
        domains: names, shape (d,).
        caps: highest weight of each domain, shape (d,), in [0, 1].
        floors: lowest weight of each domain, shape (d,), in [0, 1].
    """

    domains: tuple[str, ...]
    caps: NDArray[np.float64]
    floors: NDArray[np.float64]

    def __post_init__(self) -> None:
        # Whole parts per million, so that a weight rounded to parts never ends a hair beyond its bound.
        caps, floors = np.asarray(self.caps, dtype=float), np.asarray(self.floors, dtype=float)
        whole_caps = np.floor(caps * PARTS + 1e-6) / PARTS
        whole_floors = np.maximum(np.ceil(floors * PARTS - 1e-6), 0.0) / PARTS
        object.__setattr__(self, "caps", whole_caps)
        object.__setattr__(self, "floors", np.where(floors <= caps, np.minimum(whole_floors, whole_caps), whole_floors))

    def check(self) -> None:
        """Raise MixtureError, naming domains and remedy, when no mixture satisfies the limits."""
        for name, cap, floor in zip(self.domains, self.caps, self.floors, strict=True):
            if floor > cap + 1e-12:
                raise MixtureError(
                    f"the floor {floor:.4g} is above the cap {cap:.4g}",
                    where=f"domains.{name}",
                    remedy="lower the floor, raise the cap, or allow more epochs (limits.max_epochs)",
                )
        if self.caps.sum() < FULL:
            listed = ", ".join(f"{name} {cap:.4g}" for name, cap in zip(self.domains, self.caps, strict=True))
            raise MixtureError(
                f"the caps sum to {self.caps.sum():.4g}, below 1, so no mixture is feasible ({listed})",
                where="limits",
                remedy="raise max_epochs of limits or of domains, lower limits.target_tokens, raise domain caps or "
                "add text",
            )
        if self.floors.sum() > 1 + 1e-9:
            raise MixtureError(
                f"the floors sum to {self.floors.sum():.4g}, above 1, so no mixture is feasible",
                where="domains.*.floor",
                remedy="lower some floors",
            )

    def allow(self, weights: NDArray[np.float64], tolerance: float = 1e-9) -> NDArray[np.bool_]:
        """Which rows of ``weights``, shape (n, d), respect every cap and floor; shape (n,).

        >>> limits = Limits(("web", "code"), caps=np.array([0.5, 1.0]), floors=np.array([0.0, 0.2]))
        >>> limits.allow(np.array([[0.4, 0.6], [0.6, 0.4]])).tolist()
        [True, False]
        """
        inside = (weights <= self.caps + tolerance) & (weights >= self.floors - tolerance)
        return np.asarray(inside.all(axis=-1))


def availability_caps(
    available_tokens: Sequence[float],
    target_tokens: int | None,
    max_epochs: float | Sequence[float],
    own_caps: Sequence[float | None],
) -> NDArray[np.float64]:
    """The highest weight each domain's tokens allow: max_epochs x available / target, and never above its own cap.

    Args:
        available_tokens: training tokens per domain, shape (d,); infinite where unknown.
        target_tokens: length of the large run in tokens; None leaves only the domains' own caps.
        max_epochs: how often the large run may see a token, for all domains alike or for each, (d,).
        own_caps: a domain's cap from the study file, or None.

    >>> availability_caps([2e9, 1e9], target_tokens=10**10, max_epochs=4, own_caps=[None, 0.3]).tolist()
    [0.8, 0.3]
    >>> availability_caps([2e9, 1e9], target_tokens=10**10, max_epochs=[2, 6], own_caps=[None, None]).tolist()
    [0.4, 0.6]
    """
    caps = np.array([1.0 if cap is None else cap for cap in own_caps])
    if target_tokens is not None:
        epochs, available = (np.asarray(each, dtype=float) for each in (max_epochs, available_tokens))
        caps = np.minimum(caps, epochs * available / target_tokens)
    return np.minimum(caps, 1.0)


def within_limits(weights: NDArray[np.float64], limits: Limits) -> NDArray[np.float64]:
    """The mixture nearest to ``weights`` in Kullback-Leibler divergence that respects the limits, shape (d,).

    It keeps the proportions of all domains that are not at a bound: w_i = clip(s x weights_i, floor_i, cap_i), where s
    makes the sum 1. Domains of weight zero stay at their floor unless the others cannot fill the mixture.

    >>> limits = Limits(("web", "code", "books"), caps=np.array([0.5, 1.0, 1.0]), floors=np.zeros(3))
    >>> within_limits(np.array([0.7, 0.2, 0.1]), limits).round(3).tolist()
    [0.5, 0.333, 0.167]
    """
    limits.check()
    base = np.asarray(weights, dtype=float)
    if np.minimum(np.where(base > 0, limits.caps, limits.floors), 1.0).sum() < FULL:
        base = base + 1e-9  # what the caps of the weighted domains cannot hold goes to the others
    low, high = 0.0, 1.0
    while np.clip(high * base, limits.floors, limits.caps).sum() < FULL:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if np.clip(middle * base, limits.floors, limits.caps).sum() < FULL:
            low = middle
        else:
            high = middle
    clipped = np.clip(high * base, limits.floors, limits.caps)
    return clipped / clipped.sum()
