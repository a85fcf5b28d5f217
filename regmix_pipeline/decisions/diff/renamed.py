"""A decision of earlier days in today's names: what a renamed domain was called then is called what it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.decisions.find import Decision, record_named
from regmix_pipeline.engine.workspace import Workspace

Names = Mapping[str, str]
"""Former name -> name."""


def renamed_between(workspace: Workspace, before: Decision, after: Decision) -> dict[str, str]:
    """Domains of ``before`` that ``after`` knows by another name, as the study said when it was decided."""
    names = [row["domain"] for row in before["domains"]]
    record = record_named(workspace, after, "mixtures")
    renamed = record.settings.get("renamed", {}) if record is not None else {}
    now = {row["domain"] for row in after["domains"]}
    return {former: name for former, name in renamed.items() if former in names and name in now}


def decision_renamed(decision: Decision, names: Names) -> Decision:
    """The record with its domains, and the targets of the same name, called as ``names`` says."""
    found = dict(decision)
    found["mixture"] = decision["mixture"] | {"weights": _keys(decision["mixture"]["weights"], names)}
    found["domains"] = _rows(decision["domains"], "domain", names)
    for field in ("objective", "objective_asked"):
        if field in decision:
            found[field] = _keys(decision[field], names)
    return found


def evidence_renamed(evidence: Evidence, names: Names) -> Evidence:
    """The evidence in the same way."""
    fitted, searched, counted = evidence.fitted, evidence.searched, evidence.counted
    inventory = {row["source"]: row for row in _rows(list(evidence.inventory.values()), "source", names)}
    return replace(
        evidence,
        decision=decision_renamed(evidence.decision, names),
        fitted=replace(
            fitted,
            domains=tuple(names.get(name, name) for name in fitted.domains),
            targets=tuple(names.get(name, name) for name in fitted.targets),
            chosen=_keys(fitted.chosen, names),
            blend=_keys(fitted.blend, names),
            stack=_keys(fitted.stack, names),
            scores=_rows(fitted.scores, "target", names),
            choices={by: _keys(picks, names) for by, picks in fitted.choices.items()},
        ),
        noise=_rows(evidence.noise, "target", names),
        inventory=inventory,
        optimum=evidence.optimum | {"objective": _keys(evidence.optimum["objective"], names)},
        searched=replace(
            searched,
            settings=dict(searched.settings) | {"objective": _keys(searched.settings["objective"], names)},
        ),
        counted=replace(
            counted, settings=dict(counted.settings) | {"domains": _keys(counted.settings["domains"], names)}
        ),
    )


def _keys(values: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _rows(rows: list[dict[str, Any]], field: str, names: Names) -> list[dict[str, Any]]:
    return [row | {field: names.get(row[field], row[field])} for row in rows]
