"""What each round of a study promised and what it brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.numbers import finite

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor


def rounds_of(workspace: Workspace, fitted: FittedRegressor, objective: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row a round: round, mixtures, measured, best, mean, expected; the objective in nats per token of a proxy.

    Args:
        workspace: the study on disk.
        fitted: the regressor, with what was measured.
        objective: target -> share.

    Returns:
        `best` and `mean` of the measured objective over the round's mixtures, None where none was measured;
        `expected`: what was predicted of the decision before the round (`chosen`, `predicted`, `predicted_natural`,
        `expected_regret`), None for the sampled one.
    """
    listed = workspace.json("mixtures")
    values = fitted.losses @ fitted.shares(objective)
    at: dict[str, list[float]] = {}
    for weights, value in zip(fitted.weights, values, strict=True):
        mixture = Mixture.at(fitted.domains, weights)
        at.setdefault(mixture.id, []).append(float(value))
    rounds: dict[int, list[str]] = {}
    for entry in listed["mixtures"]:
        if entry["round"] is not None:
            rounds.setdefault(entry["round"], []).append(entry["id"])
    rows = []
    for number, keys in sorted(rounds.items()):
        measured = [float(np.mean(at[key])) for key in keys if key in at]
        rows.append(
            {
                "round": number,
                "mixtures": len(keys),
                "measured": len(measured),
                "best": min(measured, default=None),
                "mean": float(np.mean(measured)) if measured else None,
                "expected": listed["expected"].get(str(number)),
            }
        )
    return rows


def measured_gain(record: Mapping[str, Any]) -> float | None:
    """How far the best mixture that a proxy was trained on lies below the natural one by the regressors, nats per
    token; None where the limits allow none of them. What the predicted gain exceeds it by, no proxy has shown."""
    found = {
        row["name"]: finite(row.get("predicted"))
        for row in record.get("predictions") or ()
        if row["target"] == "objective"
    }
    natural, best = found.get("natural"), found.get("best_observed")
    return None if natural is None or best is None else natural - best


def rounds_in_words(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence a round after the first: what was predicted before it, and what it measured; none for one round."""
    lines = []
    for row in rounds:
        if row["round"] == 1 or not row["expected"]:
            continue
        best = "not measured" if row["best"] is None else f"{row['best']:.3f} at best"
        lines.append(
            f"Round {row['round']}, {row['mixtures']} mixtures chosen by the rounds before: the decision was predicted "
            f"at {row['expected']['predicted']:.3f}, natural at {row['expected']['predicted_natural']:.3f}; measured: "
            f"{best}."
        )
    return lines
