"""What changed between two decisions: in their inputs, their evidence, their weights, and which cause moved which."""

from __future__ import annotations

from typing import Any

from regmix_pipeline.decisions.diff.attribution import attribution_of
from regmix_pipeline.decisions.diff.evidence_changes import changed_evidence
from regmix_pipeline.decisions.diff.inputs import changed_inputs
from regmix_pipeline.decisions.diff.mixtures import changed_mixtures
from regmix_pipeline.decisions.diff.renamed import decision_renamed, evidence_renamed, renamed_between
from regmix_pipeline.decisions.evidence import evidence_behind
from regmix_pipeline.decisions.find import Decision, find_decision, previous_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError

LEAST = 0.005
"""Movements of a weight that are put into words."""
SAID = 5
"""Movements put into words at most."""


def difference_of(
    workspace: Workspace, first: str = "previous", second: str = "current", *, exact: bool = False
) -> dict[str, Any]:
    """What changed from decision ``first`` to decision ``second``, JSON-able.

    Args:
        workspace: the study on disk.
        first: an id, the start of one, "current", or "previous": the decision before ``second``.
        second: the same.
        exact: repeat the decisions' own search for the attribution even where the optimiser would do.

    Returns:
        a and b (decision, decided_at, summary); inputs (`changed_inputs`), evidence (`changed_mixtures` and
        `changed_evidence`), weights (rows with domain, before, after, change), gain {before, after}, attribution
        (`attribution_of`) or None where evidence is gone, with attribution_missing saying why, and movements: the
        largest ones in words.

    Raises:
        LedgerError: no such decision, none before it, or both are the same.
    """
    after = find_decision(workspace, second)
    before = previous_of(workspace, after) if first == "previous" else find_decision(workspace, first)
    if before is None:
        raise LedgerError(
            f"there is no decision before {after['decision']}",
            where=str(workspace.path("decisions")),
            remedy="decide again after a change, or name two decisions",
        )
    if before["decision"] == after["decision"]:
        raise LedgerError(
            f"both are {after['decision']}",
            where=str(workspace.path("decisions")),
            remedy="name two different decisions",
        )
    attribution, evidence, missing = None, None, ""
    names = renamed_between(workspace, before, after)
    inputs = changed_inputs(workspace, before, after, names)
    try:
        pair = evidence_renamed(evidence_behind(workspace, before), names), evidence_behind(workspace, after)
        evidence = {"mixtures": changed_mixtures(workspace, before, after, names)} | changed_evidence(*pair)
        attribution = attribution_of(*pair, exact=exact)
    except LedgerError as error:
        missing = str(error)
    weights = _weights(decision_renamed(before, names), after)
    return {
        **{
            side: {name: decision[name] for name in ("decision", "decided_at", "summary")}
            for side, decision in (("a", before), ("b", after))
        },
        "inputs": inputs,
        "evidence": evidence,
        "weights": weights,
        "gain": {"before": before["gain"], "after": after["gain"]},
        "attribution": attribution,
        "attribution_missing": missing,
        "movements": movements_of(attribution) if attribution else [_moved(row) for row in _largest(weights)],
    }


def _weights(before: Decision, after: Decision) -> list[dict[str, Any]]:
    """Every domain of either decision, the largest movement first."""
    held = [decision["mixture"]["weights"] for decision in (before, after)]
    known = [{row["domain"] for row in decision["domains"]} for decision in (before, after)]
    names = dict.fromkeys(row["domain"] for decision in (before, after) for row in decision["domains"])
    rows = [
        {
            "domain": name,
            "before": held[0].get(name, 0.0),
            "after": held[1].get(name, 0.0),
            "change": held[1].get(name, 0.0) - held[0].get(name, 0.0),
            "state": "new" if name not in known[0] else "gone" if name not in known[1] else "",
        }
        for name in names
    ]
    return sorted(rows, key=lambda row: -abs(row["change"]))


def _largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    moved = [row for row in rows if abs(row["change"]) >= LEAST]
    return sorted(moved, key=lambda row: -abs(row["change"]))[:SAID]


def movements_of(attribution: dict[str, Any]) -> list[str]:
    """The largest movements in words: ``books -8.0 points: evidence -6.1, limits -1.9``."""
    return [_moved(row) + _because(row, attribution["residual_is"]) for row in _largest(attribution["domains"])]


def _moved(row: dict[str, Any]) -> str:
    return f"{row['domain']} {row['change'] * 100:+.1f} points"


def _because(row: dict[str, Any], residual_is: str) -> str:
    parts = row["parts"] | {residual_is: row["residual"]}
    notable = sorted((item for item in parts.items() if abs(item[1]) >= 5e-4), key=lambda item: -abs(item[1]))
    return ": " + ", ".join(f"{cause} {part * 100:+.1f}" for cause, part in notable) if notable else ""
