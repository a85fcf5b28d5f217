"""Where the answer may lie: the capped simplex, group limits, divergence from the prior, nearness to observed runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import ROUNDED, Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.together import inside_together, rounded_together
from regmix_pipeline.study.coordinates import domain_of, domains_of
from regmix_pipeline.study.settings.search import GroupLimit, SearchSettings

Array = NDArray[np.float64]
HALVINGS = 60
TINY = 1e-12
SLACK = 2e-6
"""Weights are rounded to a millionth, so sums of them may miss a group limit by that much."""


def feasible(limits: Limits) -> None:
    """Raise MixtureError, naming the caps, when no mixture respects the limits."""
    limits.check()


def project_to_limits(weights: Array, limits: Limits) -> Array:
    """Each row's nearest mixture in KL divergence within caps and floors, (m, d) -> (m, d).

    w_i = clip(s x weights_i, floor_i, cap_i), the s of each row found by bisection: domains away from their bounds keep
    their proportions. Rows whose positive domains cannot fill a mixture spread the rest over the others.

    >>> limits = Limits(("web", "code", "books"), caps=np.array([0.5, 1.0, 1.0]), floors=np.zeros(3))
    >>> project_to_limits(np.array([[0.7, 0.2, 0.1], [0.2, 0.4, 0.4]]), limits).round(3).tolist()
    [[0.5, 0.333, 0.167], [0.2, 0.4, 0.4]]
    """
    if limits.together is not None:
        return inside_together(weights, limits.caps, limits.floors, limits.together)
    # A hair of every domain lets a sparse row reach 1 at all; it stays a hair unless it is needed.
    base = np.maximum(weights, TINY * np.maximum(limits.caps, TINY))
    # At the upper end every domain with a positive cap is at its cap, and the caps sum to 1 at least.
    high = np.full(len(base), np.log(1 / TINY**2))
    low = -high
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

    >>> limits = Limits(("web", "code", "books"), caps=np.ones(3), floors=np.zeros(3))
    >>> rounded_inside(np.full(3, 1 / 3), limits).weights
    {'books': 0.333333, 'code': 0.333333, 'web': 0.333334}
    """
    if limits.together is not None:
        parts = rounded_together(weights, limits.caps, limits.floors, limits.together)
        return Mixture.of(dict(zip(limits.domains, parts.tolist(), strict=True)))
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


def natural_inside(prior: Array, limits: Limits) -> Mixture:
    """The natural mixture, as near as caps and floors allow, rounded without leaving them."""
    return rounded_inside(within_limits(prior, limits), limits)


@dataclass(frozen=True)
class Region:
    """Everything the answer must respect.

    Attributes:
        limits: caps and floors.
        prior: natural distribution (d,).
        groups: membership (g, d), 0 or 1, with `group_caps` and `group_floors` (g,).
        max_divergence: highest KL(w || prior) in nats; infinite for none.
        observed: mixtures that proxies were trained on, (n, d).
        trust_radius: highest Hellinger distance to the nearest of them; infinite for none.
    """

    limits: Limits
    prior: Array
    groups: Array
    group_caps: Array
    group_floors: Array
    max_divergence: float
    observed: Array
    trust_radius: float

    @classmethod
    def of(cls, limits: Limits, prior: Array, observed: Array, settings: SearchSettings) -> Region:
        """The region that settings and limits describe.

        Raises:
            MixtureError: an unknown domain in a group, or limits that leave no mixture.
        """
        limits.check()
        for number, group in enumerate(settings.groups):
            unknown = sorted(set(group.domains) - {*limits.domains, *domains_of(limits.domains)})
            if unknown:
                raise MixtureError(f"unknown domains {unknown}", where=f"search.groups[{number}]", remedy="check names")
            if limits.together is not None:
                continue  # what the optimiser does not find inside, it says
            member = np.isin(np.array(limits.domains), group.domains)
            least = max(limits.floors[member].sum(), 1 - limits.caps[~member].sum())
            most = min(limits.caps[member].sum(), 1 - limits.floors[~member].sum())
            if least > group.cap + 1e-9 or most < group.floor - 1e-9:
                raise MixtureError(
                    f"the group {', '.join(group.domains)} can only weigh {least:.4g} to {most:.4g}, "
                    f"not {group.floor:.4g} to {group.cap:.4g}",
                    where=f"search.groups[{number}]",
                    remedy="widen the group's limits or the domains' caps and floors",
                )
        member = [members_of(group, limits.domains) for group in settings.groups]
        return cls(
            limits,
            prior,
            np.array(member).reshape(len(settings.groups), len(prior)),
            np.array([group.cap for group in settings.groups]),
            np.array([group.floor for group in settings.groups]),
            settings.max_divergence if settings.max_divergence is not None else np.inf,
            observed,
            settings.trust_radius if settings.trust_radius is not None else np.inf,
        )

    @property
    def is_simplex(self) -> bool:
        """Whether caps and floors are all there is."""
        return not len(self.groups) and not np.isfinite(self.max_divergence) and not np.isfinite(self.trust_radius)

    def allow(self, weights: Array, slack: float = SLACK) -> NDArray[np.bool_]:
        """Which rows (m, d) respect everything, (m,)."""
        inside = self.limits.allow(weights, slack)
        if len(self.groups):
            sums = weights @ self.groups.T
            room = slack * len(self.prior)
            inside &= ((sums <= self.group_caps + room) & (sums >= self.group_floors - room)).all(axis=1)
        if np.isfinite(self.max_divergence):
            inside &= divergence(weights, self.prior) <= self.max_divergence + 1e-4
        if np.isfinite(self.trust_radius):
            inside &= self.distance(weights) <= self.trust_radius + 1e-4
        return inside

    def distance(self, weights: Array) -> Array:
        """Hellinger distance of each row to the nearest observed mixture, (m,), in [0, 1]."""
        return distance_to_nearest(weights, self.observed)


def members_of(group: GroupLimit, names: Sequence[str]) -> list[float]:
    """Which weights a group bounds the sum of, 0 or 1, (d,): of a domain those in all phases, of ``<phase>/<domain>``
    one."""
    return [float(name in group.domains or domain_of(name) in group.domains) for name in names]


def distance_to_nearest(weights: Array, others: Array) -> Array:
    """Hellinger distance of each mixture (m, d) to the nearest of others (n, d), (m,), in [0, 1].

    >>> distance_to_nearest(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.5, 0.5]])).round(3).tolist()
    [0.541, 0.0]
    """
    overlap = np.sqrt(weights) @ np.sqrt(others).T
    return np.sqrt(np.maximum(1 - overlap.max(axis=1), 0.0))


def above_sampled(weights: Array, sampled: Array) -> NDArray[np.bool_]:
    """Where weights of mixtures, (m, d), are above the highest of those that were sampled, (n, d).

    A decision's weights are rounded after the search, so a difference within rounding is none.

    >>> above_sampled(np.array([[0.6, 0.4], [0.50001, 0.49999]]), np.array([[0.5, 0.5]])).tolist()
    [[True, False], [False, False]]
    """
    return weights > sampled.max(axis=0) + ROUNDED


def usual_distance(observed: Array) -> float:
    """How far trained mixtures usually are from their nearest neighbour: the 95% quantile of that Hellinger distance.

    Args:
        observed: trained mixtures, (n, d).

    >>> round(usual_distance(np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])), 3)
    0.325
    """
    overlap = np.sqrt(observed) @ np.sqrt(observed).T
    np.fill_diagonal(overlap, 0.0)
    return float(np.quantile(np.sqrt(np.maximum(1 - overlap.max(axis=1), 0.0)), 0.95))


def divergence(weights: Array, prior: Array) -> Array:
    """KL(w || prior) in nats of each row, (m,); infinite where a domain outside the prior has weight.

    >>> divergence(np.array([[0.5, 0.5], [1.0, 0.0]]), prior=np.array([0.5, 0.5])).round(3).tolist()
    [0.0, 0.693]
    """
    ratio = np.where(weights > 0, weights / np.maximum(prior, 1e-300), 1.0)
    return (weights * np.log(ratio)).sum(axis=1)
