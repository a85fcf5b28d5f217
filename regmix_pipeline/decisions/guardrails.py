"""Guardrails in words, and what larger models measured of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def guardrails_in_words(record: Mapping[str, Any]) -> list[str]:
    """A line for each guardrail of a decision: what is allowed, what is predicted, and what is left."""
    return [
        f"guardrail of {row['target']}: predicted {row['difference']:+.4f} against natural, at most "
        f"{row['worse_by']:+.4f} is allowed, slack {row['slack']:.4f}"
        + (": active, it holds the mixture back" if row["active"] else "")
        for row in record.get("guardrails") or ()
    ]


def families_in_words(record: Mapping[str, Any]) -> list[str]:
    """A line for each family of a decision: its share, its members, and its macro average."""
    found = []
    for row in record.get("families") or ():
        members = ", ".join(f"{name} {share:.0%}" for name, share in row["targets"].items())
        losses = row["predicted"]
        said = f"family {row['family']} ({row['share']:.0%} of the objective): {members}"
        if {"chosen", "natural"} <= set(losses):
            said += f"; macro average {losses['chosen']:.3f}, natural {losses['natural']:.3f}"
        found.append(said)
    return found


def measured_guardrails(
    guardrails: Sequence[Mapping[str, Any]], losses: Iterable[tuple[str, int, str, float]]
) -> list[dict[str, Any]]:
    """What larger models measured of each guardrail, of those that were trained on both mixtures.

    Args:
        guardrails: rows of a decision.
        losses: name of the mixture, seed, target and loss of every model, nats per token.

    Returns:
        rows with target, worse_by, predicted (difference to natural, of a proxy), measured (the same of larger models,
        mean over seeds, each compared with the natural model of its seed), standard_error (over seeds; None with one),
        seeds, and kept (whether the mean is within the guardrail).
    """
    found = {(name, seed, target): loss for name, seed, target, loss in losses}
    rows = []
    for each in guardrails:
        target = each["target"]
        seeds = [
            seed for name, seed, of in found if (name, of) == ("chosen", target) and ("natural", seed, of) in found
        ]
        if not seeds:
            continue
        away = np.array([found["chosen", seed, target] - found["natural", seed, target] for seed in seeds])
        rows.append(
            {
                "target": target,
                "worse_by": each["worse_by"],
                "predicted": each["difference"],
                "measured": float(away.mean()),
                "standard_error": float(away.std(ddof=1) / np.sqrt(len(away))) if len(away) > 1 else None,
                "seeds": len(away),
                "kept": bool(away.mean() <= each["worse_by"]),
            }
        )
    return rows


def measured_in_words(row: Mapping[str, Any]) -> str:
    """What larger models say of a guardrail."""
    error = "one seed" if row["standard_error"] is None else f"± {row['standard_error']:.4f} over {row['seeds']} seeds"
    state = "kept" if row["kept"] else "broken"
    return f"{state}: {row['measured']:+.4f} ({error}), at most {row['worse_by']:+.4f} is allowed"
