"""Which cause moved which weight between two decisions: Shapley values over searches with causes from either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.decisions.diff.causes import Replay
from regmix_pipeline.decisions.evidence import Evidence

Array = NDArray[np.float64]
CLOSE = 0.1
"""The optimiser replaces another search where it misses the decisions by at most this share of the change."""


def attribution_of(before: Evidence, after: Evidence, *, exact: bool = False) -> dict[str, Any]:
    """How much of each weight's change each cause made, JSON-able.

    Every subset of the causes that differ is searched once with those causes as in ``after`` and the others as in
    ``before``; a cause's part is its effect averaged over all orders in which the causes can change (Shapley). What the
    searches do not reproduce of the recorded weights is the residual, so that a row sums to the recorded change.

    Args:
        before, after: evidence of both decisions.
        exact: repeat the decisions' own search even where the optimiser would do.

    Returns:
        causes (those that differ), method (own or optimiser, and why), searches, loosened, residual_is (what the
        residual may be: chance, or code that changed as well and cannot be run any more); domains: rows with domain,
        before, after, change, parts {cause: change} and residual, all of them weights; gain: the same for the predicted
        gain over natural, nats per token.
    """
    replay, method = _replay(before, after, exact)
    causes = replay.changed
    named = replay.domains
    recorded = [_spread(each, named) for each in (before, after)]
    values = {subset: replay.answer(subset) for subset in _subsets(causes)}
    weights = shapley(causes, lambda subset: values[subset][0])
    gains = shapley(causes, lambda subset: np.array([values[subset][1]]))
    change = recorded[1] - recorded[0]
    explained = sum(weights.values(), np.zeros(len(named)))
    gain = [float(each.decision["gain"]["predicted"]) for each in (before, after)]
    return {
        "causes": causes,
        "method": method,
        "searches": replay.searches,
        "loosened": sorted(replay.loosened),
        "residual_is": _residual(before, after),
        "domains": [
            {
                "domain": domain,
                "before": float(recorded[0][j]),
                "after": float(recorded[1][j]),
                "change": float(change[j]),
                "parts": {cause: float(part[j]) for cause, part in weights.items()},
                "residual": float(change[j] - explained[j]),
            }
            for j, domain in enumerate(named)
        ],
        "gain": {
            "before": gain[0],
            "after": gain[1],
            "change": gain[1] - gain[0],
            "parts": {cause: float(part[0]) for cause, part in gains.items()},
            "residual": gain[1] - gain[0] - float(sum(part[0] for part in gains.values())),
        },
    }


def shapley(causes: Sequence[str], value: Callable[[frozenset[str]], Array]) -> dict[str, Array]:
    """Each cause's effect averaged over all orders; they sum to value(all) - value(none)."""
    k = len(causes)
    found = {}
    for cause in causes:
        others = [other for other in causes if other != cause]
        found[cause] = sum(
            factorial(len(subset))
            * factorial(k - len(subset) - 1)
            / factorial(k)
            * (value(subset | {cause}) - value(subset))
            for subset in _subsets(others)
        )
    return found


def _subsets(causes: Sequence[str]) -> list[frozenset[str]]:
    return [frozenset(each) for size in range(len(causes) + 1) for each in combinations(causes, size)]


def _replay(before: Evidence, after: Evidence, exact: bool) -> tuple[Replay, dict[str, Any]]:
    """How to search again: by the optimiser where that adds little noise, unless the search itself is what changed."""
    sides = {"a": before, "b": after}
    own = Replay(sides)
    if all(each.settings.method == "optimiser" for each in sides.values()):
        return own, {"name": "own", "why": "both decisions were searched by the optimiser"}
    if exact or "search" in own.changed:
        return own, {"name": "own", "why": "asked for" if exact else "the search itself changed"}
    quick = Replay(sides, "optimiser")
    recorded = [_spread(each, quick.domains) for each in (before, after)]
    far = [
        _distance(quick.answer(subset)[0], there) for subset, there in zip(((), quick.changed), recorded, strict=True)
    ]
    change = _distance(*recorded)
    figures = (
        f"its answers are {max(far) * 100:.1f} points from the decisions, these {change * 100:.1f} from each other"
    )
    if max(far) > CLOSE * change:
        return own, {"name": "own", "why": f"the optimiser would be too coarse: {figures}"}
    return quick, {"name": "optimiser", "why": f"quick, and close enough: {figures}"}


def _residual(before: Evidence, after: Evidence) -> str:
    code = [(each.searched.settings.get("code"), each.decision["code"].get("package")) for each in (before, after)]
    return "search noise" if code[0] == code[1] else "search noise and code"


def _distance(one: Array, other: Array) -> float:
    """Weight that would have to move from domain to domain."""
    return float(np.abs(one - other).sum() / 2)


def _spread(evidence: Evidence, domains: Sequence[str]) -> Array:
    held = evidence.decision["mixture"]["weights"]
    return np.array([held.get(name, 0.0) for name in domains])
