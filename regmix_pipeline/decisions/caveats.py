"""What a decision costs and what it leaves open: what a reader should know before the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.decisions.sizes import whose
from regmix_pipeline.numbers import finite, listed, percent, signed
from regmix_pipeline.study.coordinates import domain_of

WORTH_SAYING = 0.0005
"""Differences of a loss below this are none, nats per token."""
NAMED = 4
"""Targets or domains named; the rest is counted."""
LARGE = 0.05
"""A weight from which on it matters whether it is pinned down."""
SMALL = 5e-4
"""Differences of a weight that a reader would not see."""
ROUNDED = 0.005
"""How far a range goes beyond the measured weights before it is said."""
MOST = 0.8
"""A weight that may move over this share of what its limits allow is not decided, however narrow they are."""


def undecided(row: Mapping[str, Any]) -> bool:
    """Whether a domain's weight is open: it may move over ten points, or over most of what its limits allow."""
    low, high = finite(row.get("low")), finite(row.get("high"))
    if row.get("weakly_identified"):
        return True
    if low is None or high is None:
        return False
    free = (finite(row.get("cap")) or 0.0) - (finite(row.get("floor")) or 0.0)
    return free > SMALL and high - low >= MOST * free


def beyond_sampled(row: Mapping[str, Any]) -> str:
    """Where a range goes beyond the measured mixtures, as the end of a phrase; "" where it does not.

    >>> beyond_sampled({"high": 1.0, "highest_sampled": 0.62}), beyond_sampled({"high": 0.6, "highest_sampled": 0.62})
    (', above 62.0% by extrapolation', '')
    """
    high, sampled = finite(row.get("high")), finite(row.get("highest_sampled"))
    if high is None or sampled is None or high <= sampled + ROUNDED:
        return ""
    return f", above {percent(sampled)} by extrapolation"


def price_of(record: Mapping[str, Any]) -> str:
    """On which targets the chosen mixture is predicted to be worse than the natural one; "" where nothing is known."""
    found = {(row["name"], row["target"]): finite(row.get("predicted")) for row in record.get("predictions") or ()}
    targets = dict.fromkeys(target for _, target in found if target != "objective")
    gaps = {}
    for target in targets:
        chosen, natural = found.get(("chosen", target)), found.get(("natural", target))
        if chosen is not None and natural is not None:
            gaps[target] = chosen - natural
    if not gaps:
        return ""
    worse = sorted((name for name in gaps if gaps[name] > WORTH_SAYING), key=lambda name: -gaps[name])
    if worse:
        named = [f"{name} {signed(gaps[name])}" for name in worse[:NAMED]]
        more = f" and {len(worse) - NAMED} more" if len(worse) > NAMED else ""
        said = (
            f"It costs most on {', '.join(named)}{more} (nats per token of {whose(record)}, above the natural mixture)."
        )
    else:
        said = f"It is predicted to cost nothing on any of the {len(gaps)} targets that were measured."
    drawn = dict.fromkeys(domain_of(row["domain"]) for row in record.get("domains") or ())
    unmeasured = [name for name in drawn if name not in gaps]
    if not unmeasured:
        return said
    shown = unmeasured[:NAMED] + ([f"{len(unmeasured) - NAMED} more"] if len(unmeasured) > NAMED else [])
    return f"{said} What it costs on {listed(shown)} was not measured: no target has that text."


def open_weights(record: Mapping[str, Any]) -> str:
    """Which large weights the evidence does not pin down; "" where it pins down all, or nothing is known."""
    rows = sorted(record.get("domains") or (), key=lambda row: -(finite(row.get("weight")) or 0.0))
    large = [row for row in rows if (finite(row.get("weight")) or 0.0) >= LARGE]
    loose = [row for row in large if undecided(row)]
    if not loose:
        return ""
    named = [
        f"{row['domain']} {percent(row['weight'])} (as good: {percent(row.get('low'))} to {percent(row.get('high'))}"
        f"{beyond_sampled(row)})"
        for row in loose[:NAMED]
    ]
    more = f" and {len(loose) - NAMED} more" if len(loose) > NAMED else ""
    which = "The largest weight is" if loose[0] is large[0] and len(loose) == 1 else "Large weights are"
    return (
        f"{which} not pinned down: {', '.join(named)}{more}. Anywhere in such a range the objective is within one "
        "standard error of the best, when the other weights adapt."
    )
