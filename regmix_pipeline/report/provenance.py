"""Where a decision comes from, for the page: who or what asked for it, which runs made what, on which machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from regmix_pipeline.numbers import NOT_RECORDED


def of(decision: Mapping[str, Any]) -> dict[str, Any]:
    """The record's circumstances and its regressors' settings, as the template shows them; gaps stay gaps."""
    regression = decision.get("regression") or {}
    return {
        "triggered": _triggered(decision.get("triggered") or {}),
        "machine": decision.get("environment") or decision.get("code") or {},
        "runs": [(run, _made(places)) for run, places in (decision.get("runs") or {}).items()],
        "recorded_scores": list(
            dict.fromkeys(name for found in regression.values() for name in found.get("scores") or {})
        ),
        "hyperparameters": _hyperparameters(regression),
    }


def _triggered(triggered: Mapping[str, Any]) -> str:
    by, through, why = (str(triggered.get(name) or "") for name in ("by", "through", "why"))
    if not by and not through:
        return NOT_RECORDED
    return (by or through) + (f", through {through}" if by and through else "") + (f": {why}" if why else "")


def _made(places: Sequence[str], most: int = 3) -> str:
    """``mixtures, proxy_losses × 66``: assets in order, counted where many keys are one asset's."""
    assets = Counter(place.split("/", 1)[0] for place in places)
    named = {asset: [place for place in places if place.split("/", 1)[0] == asset] for asset in assets}
    return ", ".join(
        f"{asset} × {count}" if count > most else ", ".join(place.removesuffix("/all") for place in named[asset])
        for asset, count in assets.items()
    )


def _hyperparameters(regression: Mapping[str, Any]) -> list[tuple[list[str], Any]]:
    """(targets, settings), targets of like settings together."""
    groups: dict[str, tuple[list[str], Any]] = {}
    for target, found in regression.items():
        settings = found.get("hyperparameters")
        if settings:
            groups.setdefault(json.dumps(settings, sort_keys=True), ([], settings))[0].append(target)
    return list(groups.values())
