"""Which limits hold a weight, and what a point more of room in each of them would be worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.search.assessment import POINT, bounds_of
from regmix_pipeline.search.best import guardrail_name
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import convex_program, optimise
from regmix_pipeline.search.region import Region
from regmix_pipeline.search.shadow_prices import Cap, columns_of, gain_at, settled, with_cap, with_floor
from regmix_pipeline.study.coordinates import domain_of

Array = NDArray[np.float64]
MOVED = 5e-4
"""A limit of another domain is listed when relaxing it by a point moves the explained weight by this much."""
WIDER = 1.1
"""How much wider a divergence or trust radius is tried: they have no points."""


FURTHER = 0.01
"""Nats per token that a guardrail is tried further out."""


@dataclass(frozen=True)
class _Looser:
    """A limit, in words, the step by which it was relaxed, and the question with it relaxed."""

    limit: str
    own: bool
    step: str
    region: Region
    objective: Objective


def active_limits(evidence: Evidence, domain: str) -> tuple[list[dict[str, Any]], str]:
    """The limits that hold the domain's weight, its own first, and how their worth was computed.

    Each row has limit, own (a limit of this domain itself), step (how far it was relaxed), worth (nats per token that
    the objective falls, not negative) and weight_change (of the domain, as the search answers). Searched with the
    limit as it was and relaxed, by the pure law's convex program where the law is convex, else by the optimiser.
    """
    candidates = list(_looser(evidence, domain))
    program = convex_program(evidence.objective, evidence.region)
    convex = program is not None and not np.isfinite(evidence.region.trust_radius) and not evidence.settings.guardrails
    by = evidence.fitted.law if convex else None
    how = f"searched again by the {by} law's convex program" if convex else "searched again by the optimiser"
    if not candidates:
        return [], how
    base = _best(evidence, evidence.objective, evidence.region, convex)
    if base is None:
        return [], "the optimiser finds no mixture inside the limits"
    j = evidence.domains.index(domain)
    rows = []
    for each in candidates:
        found = _best(evidence, each.objective, each.region, convex)
        found = base if found is None else found
        values = evidence.objective(np.array([base, found]), by)
        worth = max(float(values[0] - values[1]), 0.0)
        moved = float(found[j] - base[j]) if worth > 0 else 0.0
        if each.own or abs(moved) >= MOVED:
            rows.append(
                {"limit": each.limit, "own": each.own, "step": each.step, "worth": worth, "weight_change": moved}
            )
    return sorted(rows, key=lambda row: (not row["own"], -row["worth"])), how


def at_epochs(evidence: Evidence, row: Mapping[str, Any], epochs: float) -> dict[str, Any]:
    """What the search answers where the large run may see a domain so often, the other limits as they were.

    As `search.shadow_prices.gain_at`, and ``now``: cap and epochs of the decision. Where fewer epochs are allowed than
    the decision draws, the gain is negative.

    Raises:
        MixtureError: the decision does not say how often the large run sees the domain, or epochs are not above 0.
    """
    target = (evidence.decision.get("limits") or {}).get("target_tokens")
    if not epochs > 0:
        raise MixtureError(f"{epochs:g} is not above 0", where="--epochs", remedy="give a number above 0")
    if not row.get("available_tokens") or not target:
        raise MixtureError(
            f"how often the large run sees {row['domain']} is not known",
            where="--epochs",
            remedy="state limits.target_tokens in the study, and available_tokens of the domain; then decide again",
        )
    rate, region, j = target / row["available_tokens"], evidence.region, evidence.domains.index(row["domain"])
    before = row.get("epochs_before", 0.0)
    cap = Cap(
        f"cap of {domain_of(row['domain'])}",
        columns_of(region.limits, j),
        float(bounds_of(region.limits, evidence.chosen).caps[j]),
        rate=rate,
        before=before,
    )
    base = settled(evidence.objective, region, evidence.chosen)
    found = gain_at(evidence.objective, region, base, cap, min(max(epochs - before, 0.0) / rate, 1.0))
    return found | {"now": {"cap": cap.value, "epochs": cap.epochs(cap.value)}}


def _best(evidence: Evidence, objective: Objective, region: Region, convex: bool) -> Array | None:
    if convex:
        program = convex_program(objective, region)
        return None if program is None else program.optimum()
    try:
        return optimise(objective, region, evidence.settings, evidence.seed, lambda line: None).weights
    except MixtureError:
        return None


def _looser(evidence: Evidence, domain: str) -> Iterator[_Looser]:
    """Every limit that the decision touched, relaxed on its own."""
    region, objective, point = evidence.region, evidence.objective, f"{POINT * 100:.0f} point"
    limits, seen = region.limits, set()
    bounds = bounds_of(limits, evidence.chosen)
    for row in evidence.decision["domains"]:
        name = domain_of(row["domain"])
        if row["domain"] not in evidence.domains or name in seen:
            continue
        seen.add(name)
        j, own = evidence.domains.index(row["domain"]), name == domain_of(domain)
        columns = columns_of(limits, j)
        if row["at_cap"]:
            looser = replace(region, limits=with_cap(limits, columns, min(bounds.caps[j] + POINT, 1.0)))
            yield _Looser(f"cap of {name}", own, f"+{point}", looser, objective)
        elif row["at_floor"]:
            looser = replace(region, limits=with_floor(limits, columns, max(bounds.floors[j] - POINT, 0.0)))
            yield _Looser(f"floor of {name}", own, f"-{point}", looser, objective)
    active: Sequence[str] = evidence.decision.get("active") or evidence.optimum.get("active", ())
    for number, group in enumerate(evidence.settings.groups):
        name = f"group {', '.join(group.domains)}"
        if name in active:
            at_cap = float(region.groups[number] @ evidence.chosen) >= group.cap - 1e-4
            caps, floors = region.group_caps.copy(), region.group_floors.copy()
            (caps if at_cap else floors)[number] += POINT if at_cap else -POINT
            step = f"{'+' if at_cap else '-'}{point}"
            looser = replace(region, group_caps=caps, group_floors=floors)
            own = domain in group.domains or domain_of(domain) in group.domains
            yield _Looser(name, own, step, looser, objective)
    wider = f"{WIDER - 1:.0%} wider"
    if "divergence from the prior" in active:
        looser = replace(region, max_divergence=region.max_divergence * WIDER)
        yield _Looser("divergence from the prior", True, wider, looser, objective)
    if "trust radius" in active:
        looser = replace(region, trust_radius=region.trust_radius * WIDER)
        yield _Looser("trust radius", True, wider, looser, objective)
    guardrails = objective.guardrails
    for number, target in enumerate(() if guardrails is None else guardrails.targets):
        if guardrails is not None and guardrail_name(target) in active:
            bounds = guardrails.worse_by.copy()
            bounds[number] += FURTHER
            further = replace(objective, guardrails=replace(guardrails, worse_by=bounds))
            yield _Looser(guardrail_name(target), False, f"+{FURTHER:g} nats per token", region, further)
