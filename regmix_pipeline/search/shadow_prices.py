"""What each cap that holds the answer costs: the search asked again with more room in that cap alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.mixtures.limits import ROUNDED, Limits
from regmix_pipeline.search.assessment import AT_LIMIT, POINT, bounds_of
from regmix_pipeline.search.descent import descend, rounded_off
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region, project_to_limits
from regmix_pipeline.study.coordinates import domain_of

Array = NDArray[np.float64]
STEP = 1.1
"""By how much a cap is raised for its price."""
FURTHER = 1.5
"""By how much it is raised to say what more room would gain: 6 epochs instead of 4."""
DESCENT = 60
"""Steps of a descent at most."""
_NONE: Mapping[str, float] = {}


@dataclass(frozen=True)
class Cap:
    """A cap that holds the answer.

    Attributes:
        name: as in the answer's active limits, such as ``cap of code``.
        domains: numbers of the domains whose weights it bounds together, (k,).
        value: the highest sum of their weights.
        group: its row among the region's groups; None for the cap of one domain.
        rate: epochs of the domain at weight 1 in the large run; None where nobody knows, and for a group.
        before: epochs of the domain that earlier phases of the run saw.
    """

    name: str
    domains: NDArray[np.int_]
    value: float
    group: int | None = None
    rate: float | None = None
    before: float = 0.0

    def epochs(self, weight: float) -> float | None:
        """Epochs of the domain at a weight, earlier phases' among them; None where nobody knows."""
        return None if self.rate is None else self.before + weight * self.rate

    def raised(self, region: Region, to: float) -> Region:
        """The region with this cap at another value."""
        if self.group is not None:
            caps = region.group_caps.copy()
            caps[self.group] = to
            return replace(region, group_caps=caps)
        return replace(region, limits=with_cap(region.limits, self.domains, to))


def with_cap(limits: Limits, columns: NDArray[np.int_], to: float) -> Limits:
    """Limits with another cap of a domain, whose weights are in ``columns``: one, or one for each of several phases."""
    together = limits.together
    caps = limits.caps.copy()
    if together is None:
        caps[columns] = to
        return limits.with_bounds(caps, limits.floors)
    domain = int(columns[0]) % len(together.domains)
    sums = together.caps.copy()
    sums[domain] = to
    caps[columns] = np.minimum(to, together.shares)
    return replace(limits, caps=caps, together=together.with_bounds(sums, together.floors))


def with_floor(limits: Limits, columns: NDArray[np.int_], to: float) -> Limits:
    """The same with another floor."""
    together, floors = limits.together, limits.floors.copy()
    if together is None:
        floors[columns] = to
        return limits.with_bounds(limits.caps, floors)
    sums = together.floors.copy()
    sums[int(columns[0]) % len(together.domains)] = to
    return replace(limits, together=together.with_bounds(together.caps, sums))


def columns_of(limits: Limits, column: int) -> NDArray[np.int_]:
    """Numbers of the weights that the cap of a weight's domain bounds."""
    together = limits.together
    return np.array([column]) if together is None else together.columns_of(domain_of(limits.domains[column]))


def active_caps(
    region: Region, at: Array, rates: Mapping[str, float], before: Mapping[str, float] = _NONE
) -> Iterator[Cap]:
    """The caps that a mixture (d,) touches, domains' first.

    Args:
        region: where the answer may lie.
        at: the answer, (d,).
        rates: domain -> epochs at weight 1 in the large run (its tokens / tokens available).
        before: domain -> epochs that earlier phases of the run saw.

    >>> from regmix_pipeline.study.settings.search import SearchSettings
    >>> limits = Limits(("web", "code"), caps=np.array([1.0, 0.2]), floors=np.zeros(2))
    >>> region = Region.of(limits, np.array([0.5, 0.5]), np.array([[0.5, 0.5]]), SearchSettings())
    >>> [(cap.name, cap.value * cap.rate) for cap in active_caps(region, np.array([0.8, 0.2]), {"code": 20.0})]
    [('cap of code', 4.0)]
    """
    limits = region.limits
    bounds, together = bounds_of(limits, at), limits.together
    for j in np.flatnonzero((bounds.caps < 1) & (bounds.caps > 0) & (bounds.held >= bounds.caps - AT_LIMIT)):
        domain = domain_of(limits.domains[j])
        if together is not None and j >= len(together.domains):
            break  # the same domains in another phase
        yield Cap(
            f"cap of {domain}",
            columns_of(limits, int(j)),
            float(bounds.caps[j]),
            rate=rates.get(domain),
            before=before.get(domain, 0.0),
        )
    for number, (member, cap) in enumerate(zip(region.groups, region.group_caps, strict=True)):
        inside = np.flatnonzero(member)
        if cap < 1 and at[inside].sum() >= cap - AT_LIMIT:
            names = ", ".join(limits.domains[j] for j in inside)
            yield Cap(f"group {names}", inside, float(cap), number)


def shadow_prices(
    objective: Objective,
    region: Region,
    chosen: Array,
    rates: Mapping[str, float],
    level: float = 0.9,
    before: Mapping[str, float] = _NONE,
) -> list[dict[str, Any]]:
    """A row for each cap that holds the answer: what a little more room is worth, and what half as much again is.

    Keys: limit, domain (None for a group), cap, epochs (at the cap, in the large run; None where nobody knows),
    price_per_point and price_per_epoch (nats per token that the predicted objective falls with a point more of weight,
    or an epoch more, not negative), and further (see `gain_at`).

    The search's own objective is descended from the answer with the cap raised, and from the answer as it is, so that
    the difference is the cap's. Both are predicted by the chosen regressors.

    Args:
        objective: what was minimised.
        region: where the answer may lie.
        chosen: the answer, (d,).
        rates: domain -> epochs at weight 1 in the large run.
        level: coverage of the intervals.
        before: domain -> epochs that earlier phases of the run saw, which every number of epochs holds.
    """
    base = settled(objective, region, chosen)
    rows = []
    for cap in active_caps(region, chosen, rates, before):
        little = gain_at(objective, region, base, cap, min(cap.value * STEP, 1.0), level)
        wider = (little["cap"] - cap.value) / POINT
        further = None if cap.rate is None else (little["cap"] - cap.value) * cap.rate
        rows.append(
            {
                "limit": cap.name,
                "domain": None if cap.group is not None else domain_of(region.limits.domains[int(cap.domains[0])]),
                "cap": cap.value,
                "epochs": cap.epochs(cap.value),
                "price_per_point": little["gain"] / wider,
                "price_per_epoch": None if further is None else little["gain"] / further,
                "further": gain_at(objective, region, base, cap, min(cap.value * FURTHER, 1.0), level),
            }
        )
    return rows


def settled(objective: Objective, region: Region, chosen: Array) -> Array:
    """Where a descent from the answer ends, if that is better: what is compared must be as good as its limits allow."""
    return _better(objective, region, chosen, [chosen])


def gain_at(
    objective: Objective, region: Region, base: Array, cap: Cap, to: float, level: float = 0.9
) -> dict[str, Any]:
    """What another value of a cap gains.

    Keys: cap, epochs (at it, in the large run; None where nobody knows), weight (of the domains it bounds), gain (nats
    per token that the predicted objective falls; below 0 where the cap is lowered), low and high (its interval by the
    Gaussian process; None without one), and measured (whether a run that was trained held as much of the domains).

    Args:
        objective: what was minimised.
        region: where the answer may lie now.
        base: the best mixture in it, (d,).
        cap: the cap.
        to: its other value.
        level: coverage of the interval.

    Raises:
        MixtureError: no mixture respects the other value.
    """
    raised = cap.raised(region, to)
    raised.limits.check()
    moved = base.copy()
    moved[cap.domains] *= to / max(float(base[cap.domains].sum()), 1e-9)
    start = project_to_limits((moved / moved.sum())[None], raised.limits)[0]
    allowed = bool(raised.allow(base[None])[0])
    found = _better(objective, raised, base if allowed else start, [start, base] if allowed else [start])
    values = objective(np.array([base, found]))
    gain = float(values[0] - values[1])
    if gain < 0 and allowed:  # what a search minimises is more cautious than what is predicted
        found, gain = base, 0.0
    weight = float(found[cap.domains].sum())
    low, high = _interval(objective, base, found, gain, level)
    return {
        "cap": to,
        "epochs": cap.epochs(to),
        "weight": weight,
        "gain": gain,
        "low": low,
        "high": high,
        "measured": bool(objective.fitted.weights[:, cap.domains].sum(axis=1).max() >= weight - ROUNDED),
    }


def _better(objective: Objective, region: Region, base: Array, starts: Sequence[Array]) -> Array:
    """The best of a mixture and of where descents end, by what a search minimises."""
    ends = (
        rounded_off(descend(objective.cautious, region, start, DESCENT, objective.guardrails), region)
        for start in starts
    )
    found = np.array([base, *(end for end in ends if end is not None)])
    kept = objective.keeps(found)
    kept[0] = True
    found = found[kept]
    return found[int(objective.cautious(found).argmin())]


def _interval(
    objective: Objective, base: Array, found: Array, gain: float, level: float
) -> tuple[float | None, float | None]:
    """Interval of a difference, from the joint posterior of both mixtures; none for the worst case of targets."""
    process = objective.fitted.process
    if process is None or objective.worst_case:
        return None, None
    share = objective.fitted.shares(objective.target_weights)
    covariance = process.joint_posterior(np.array([base, found]), share).covariance
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    half = NormalDist().inv_cdf((1 + level) / 2) * float(np.sqrt(max(variance, 0.0)))
    return gain - half, gain + half
