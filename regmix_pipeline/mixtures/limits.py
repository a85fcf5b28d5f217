"""What a mixture may weigh: caps from the tokens available and how often they may be repeated, and floors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.mixtures.together import Together, inside_together, middle_of, whole_parts
from regmix_pipeline.study.coordinates import coordinate
from regmix_pipeline.study.phases import epochs_before, largest_draw, tokens_before, tokens_of_caps
from regmix_pipeline.study.repetition import epoch_limits, max_epochs_of
from regmix_pipeline.study.study import Study

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
        together: limits on sums, where the weights are those of several phases that are chosen at once; caps and floors
            are then of each weight. None: the weights are one mixture's.
    """

    domains: tuple[str, ...]
    caps: NDArray[np.float64]
    floors: NDArray[np.float64]
    together: Together | None = None

    def __post_init__(self) -> None:
        for name, bound in zip(("caps", "floors"), whole_parts(self.caps, self.floors), strict=True):
            object.__setattr__(self, name, bound)

    def of_phases(self, parts: Mapping[str, int]) -> Limits:
        """Limits on domains as those of several phases that are chosen at once, which they then hold for together.

        Args:
            parts: phase -> what its weights sum to, in parts per million; empty: the limits as they are.

        >>> limits = Limits(("web", "code"), caps=np.array([1.0, 0.2]), floors=np.zeros(2))
        >>> both = limits.of_phases({"pretraining": 900_000, "annealing": 100_000})
        >>> both.domains, both.caps.tolist()
        (('pretraining/web', 'pretraining/code', 'annealing/web', 'annealing/code'), [0.9, 0.2, 0.1, 0.1])
        >>> both.allow(np.array([[0.75, 0.15, 0.05, 0.05], [0.7, 0.2, 0.0, 0.1]])).tolist()
        [True, False]
        """
        if not parts:
            return self
        names = tuple(coordinate(phase, domain) for phase in parts for domain in self.domains)
        caps = np.concatenate([np.minimum(self.caps, part / PARTS) for part in parts.values()])
        together = Together.of(names, parts, self.caps, self.floors)
        return Limits(names, caps, np.zeros(len(names)), together)

    def with_bounds(self, caps: NDArray[np.float64], floors: NDArray[np.float64]) -> Limits:
        """The same with other caps and floors of each weight."""
        return replace(self, caps=caps, floors=floors)

    def check(self) -> None:
        """Raise MixtureError, naming domains and remedy, when no mixture satisfies the limits."""
        if self.together is not None:
            Limits(self.together.domains, self.together.caps, self.together.floors).check()
            middle_of(self.caps, self.floors, self.together)
            return
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
        inside = ((weights <= self.caps + tolerance) & (weights >= self.floors - tolerance)).all(axis=-1)
        return np.asarray(inside if self.together is None else inside & self.together.allow(weights, tolerance))


def availability_caps(
    available_tokens: Sequence[float],
    target_tokens: int | None,
    max_epochs: float | Sequence[float],
    own_caps: Sequence[float | None],
    tokens_before: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """The highest weight each domain's tokens allow, and never above its own cap.

    The tokens allow (max_epochs x available - before) / target.

    Args:
        available_tokens: training tokens per domain, shape (d,); infinite where unknown.
        target_tokens: length of the large run in tokens; None leaves only the domains' own caps.
        max_epochs: how often the large run may see a token, for all domains alike or for each, (d,).
        own_caps: a domain's cap from the study file, or None.
        tokens_before: tokens per domain that earlier phases of the run drew, (d,): they count against its epochs.
            Default: none.

    >>> availability_caps([2e9, 1e9], target_tokens=10**10, max_epochs=4, own_caps=[None, 0.3]).tolist()
    [0.8, 0.3]
    >>> availability_caps([2e9, 1e9], target_tokens=10**10, max_epochs=[2, 6], own_caps=[None, None]).tolist()
    [0.4, 0.6]
    >>> availability_caps([2e9], target_tokens=10**10, max_epochs=4, own_caps=[None], tokens_before=[5e9]).tolist()
    [0.3]
    """
    caps = np.array([1.0 if cap is None else cap for cap in own_caps])
    if target_tokens is not None:
        epochs, available = (np.asarray(each, dtype=float) for each in (max_epochs, available_tokens))
        left = epochs * available - np.asarray(0.0 if tokens_before is None else tokens_before)
        caps = np.minimum(caps, np.maximum(left, 0.0) / target_tokens)
    return np.minimum(caps, 1.0)


def limits_of(study: Study, available: Mapping[str, float | None]) -> Limits:
    """Caps and floors of a study's domains; only known tokens limit a weight.

    Args:
        study: the study.
        available: domain -> tokens that the large run can draw; None where nobody knows.
    """
    domains, before = study.domains, tokens_before(study)
    tokens = [available[name] for name in domains]
    caps = availability_caps(
        [math.inf if each is None else each for each in tokens],
        tokens_of_caps(study),
        list(max_epochs_of(study).values()),
        [domain.cap for domain in domains.values()],
        [before.get(name, 0.0) for name in domains],
    )
    return Limits(tuple(domains), caps, np.array([domain.floor for domain in domains.values()]))


def check_limits_of(study: Study, limits: Limits, available: Mapping[str, float | None]) -> None:
    """`Limits.check` of a study's limits, which says as well what earlier phases of the run have left.

    Raises:
        MixtureError: no mixture satisfies them, naming field and remedy.
    """
    try:
        limits.check()
    except MixtureError as error:
        used, most = epochs_before(study, available), epoch_limits(study)
        if not used:
            if not study.phases:
                raise
            remedy = error.remedy.replace("limits.target_tokens", "the tokens of phases")
            raise MixtureError(error.problem, where="phases", remedy=remedy) from None
        said = ", ".join(f"{name} {times:.3g} of {most[name].most:g}" for name, times in used.items())
        worst = max(used, key=lambda name: used[name] / most[name].most)
        raise MixtureError(
            f"{error.problem}; of the epochs allowed, earlier phases saw {said}",
            where=f"phases.{largest_draw(study, worst)}.mixture.{worst}",
            remedy=f"raise {most[worst].field}, add text of {worst} or of other domains, or lower the tokens of the "
            "last phase",
        ) from None


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
    if limits.together is not None:
        return inside_together(base[None], limits.caps, limits.floors, limits.together)[0]
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
