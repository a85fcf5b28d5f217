"""What the evidence of two decisions has in common and where it differs: proxies, losses, scores, noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.mixtures.mixture import Mixture

SCORED = ("spearman", "rmse", "coverage")


def changed_evidence(before: Evidence, after: Evidence) -> dict[str, Any]:
    """How the evidence changed, JSON-able.

    Returns:
        losses: rows with target, mixtures (in both), mean_change and largest_change of the measured loss, nats per
        token; scores: rows with target, regressor, and every out-of-fold score, each [before, after]; noise: rows with
        target and noise [before, after], nats per token.
    """
    pair = before, after
    rows = [_rows(each) for each in pair]
    both = [name for name in rows[0] if name in rows[1]]
    targets = list(dict.fromkeys([*before.fitted.targets, *after.fitted.targets]))
    return {
        "losses": [row for target in targets if (row := _losses(before, after, rows, both, target))],
        "scores": [_scores(before, after, target) for target in targets],
        "noise": [
            {"target": target, "noise": [_noise(each, target) for each in pair]}
            for target in targets
            if any(_noise(each, target) is not None for each in pair)
        ],
    }


def _rows(evidence: Evidence) -> dict[str, int]:
    """Mixture id -> its row among the regressor's."""
    found = {}
    for row, weights in enumerate(evidence.fitted.weights):
        found[Mixture.at(evidence.domains, weights).id] = row
    return found


def _losses(
    before: Evidence, after: Evidence, rows: list[dict[str, int]], both: list[str], target: str
) -> dict[str, Any] | None:
    pair = before.fitted, after.fitted
    if not both or any(target not in fitted.targets for fitted in pair):
        return None
    columns = [
        fitted.losses[[held[name] for name in both], fitted.targets.index(target)]
        for fitted, held in zip(pair, rows, strict=True)
    ]
    change = columns[1] - columns[0]
    return {
        "target": target,
        "mixtures": len(both),
        "mean_change": float(change.mean()),
        "largest_change": float(change[int(np.abs(change).argmax())]),
    }


def _scores(before: Evidence, after: Evidence, target: str) -> dict[str, Any]:
    pair = before.fitted, after.fitted
    found: dict[str, Any] = {"target": target, "regressor": [fitted.chosen.get(target) for fitted in pair]}
    for metric in SCORED:
        found[metric] = [
            next(
                (
                    row["value"]
                    for row in fitted.scores
                    if row["chosen"] and (row["target"], row["metric"], row["split"]) == (target, metric, "random")
                ),
                None,
            )
            for fitted in pair
        ]
    return found


def _noise(evidence: Evidence, target: str) -> float | None:
    return next((row["noise"] for row in evidence.noise if row["target"] == target), None)
