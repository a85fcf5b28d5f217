"""Decisions that a home holds, by id, by the start of one, or by their place in time; and the records behind them."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from regmix_pipeline.engine.journal import RECORD
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.records import UNPARTITIONED, Record, now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import read_json

Decision = dict[str, Any]


def decisions(workspace: Workspace) -> list[Decision]:
    """Every decision record of the home, the oldest first; where a file is gone or unreadable, as the ledger has it."""
    found = {record["decision"]: record for record in in_ledger(workspace)}
    for path in workspace.path("decisions").glob("[!.]*/decision.json"):
        record = record_on_disk(workspace, path.parent.name)
        if record is not None:
            found[path.parent.name] = record
    return sorted(found.values(), key=lambda record: (record["decided_at"], record["decision"]))


def record_on_disk(workspace: Workspace, decision: str) -> Decision | None:
    """The record in a decision's folder; None where there is none, or not of that id."""
    try:
        record = read_json(workspace.path("decisions", decision, "decision.json"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("decision") == decision else None


def in_ledger(workspace: Workspace) -> list[Decision]:
    """The decision records that the ledger holds; none without a ledger."""
    ledger = workspace.ledger_of("decisions")
    if not ledger.is_file():
        return []
    with read_ledger(ledger) as connection:
        rows = connection.execute("select distinct record from decisions").fetchall()
    return [json.loads(text) for (text,) in rows]


def find_decision(workspace: Workspace, asked: str | None = None) -> Decision:
    """A decision record.

    Args:
        workspace: the study on disk.
        asked: an id, the start of one, "previous", or None for the current decision.

    Raises:
        LedgerError: there is none, or several ids start so.
    """
    found = decisions(workspace)
    listed = ", ".join(record["decision"] for record in found) or "none"
    if asked is None or asked == "current":
        current = workspace.records.current("mixture_decision")
        fitting = [record for record in found if current is not None and record["decision"] == current.version]
        if not fitting:
            raise LedgerError(
                "there is no current decision",
                where=str(workspace.home),
                remedy=f"`regmix run` takes one; on record: {listed}",
            )
        return fitting[0]
    if asked == "previous":
        before = previous_of(workspace, find_decision(workspace))
        if before is None:
            raise LedgerError(
                "there is no earlier decision",
                where=str(workspace.path("decisions")),
                remedy="leave the name out",
            )
        return before
    fitting = [record for record in found if record["decision"].startswith(asked)]
    if len(fitting) != 1:
        listed = ", ".join(record["decision"] for record in fitting) or listed
        raise LedgerError(
            f"{'several decisions start' if fitting else 'no decision starts'} with {asked!r}",
            where=str(workspace.path("decisions")),
            remedy=f"name one of: {listed}",
        )
    return fitting[0]


def _taken(workspace: Workspace) -> list[str]:
    """Decisions in the order in which they became the current one: the same evidence leads back to the same one."""
    voided = workspace.records.journal.voided
    named = [
        line.says.get("version", "")
        for line in workspace.records.journal.lines
        if line.what == RECORD and line.says.get("asset") == "mixture_decision" and line.number not in voided
    ]
    return [name for name, _ in groupby(named)]


def decision_before(workspace: Workspace, decision: str) -> Decision | None:
    """The decision that was the current one before ``decision`` last became it, or is about to; None for the first."""
    taken = _taken(workspace)
    if decision in taken:
        taken = taken[: len(taken) - 1 - taken[::-1].index(decision)]
    found = {record["decision"]: record for record in decisions(workspace)}
    known = [name for name in taken if name in found and name != decision]
    if known:
        return found[known[-1]]
    own = found.get(decision, {}).get("decided_at", now())
    earlier = [
        each for each in found.values() if each["decision"] not in (decision, *taken) and each["decided_at"] <= own
    ]
    return earlier[-1] if earlier else None


def previous_of(workspace: Workspace, record: Decision) -> Decision | None:
    """The decision that was the current one before ``record``; None for the first."""
    return decision_before(workspace, record["decision"])


def record_behind(workspace: Workspace, decision: Decision, asset: str, key: str, version: str) -> Record | None:
    """The record that a decision is based on: of that version, and of the recipe that it was made by then.

    Equal content may have come from several recipes, before and after the decision. Decisions of earlier versions of
    this package name no recipes: then it is the latest that was there and whose inputs the decision names.
    """
    kept = workspace.records.of_version(asset, key, version)
    named = decision.get("records", {})
    for place in (f"{asset}/{key}", f"{asset}/{key}@{version}"):
        if place in named and decision["versions"].get(place) == version:
            recipe = [record for record in kept if record.recipe == named[place]["recipe"]]
            digest = named[place].get("digest")
            return next((record for record in recipe if record.digest == digest), (recipe or [None])[-1])
    versions = decision["versions"]
    fitting = [
        record
        for record in kept
        if record.made_at <= decision["decided_at"]
        and all(made in (versions.get(name), versions.get(f"{name}@{made}")) for name, made in record.inputs.items())
    ]
    return (fitting or kept or [None])[-1]


def record_named(workspace: Workspace, decision: Decision, asset: str, key: str = UNPARTITIONED) -> Record | None:
    """The record of what a decision names as ``asset/key``; None where it names none, or its record is gone."""
    version = decision.get("versions", {}).get(f"{asset}/{key}")
    return None if version is None else record_behind(workspace, decision, asset, key, version)
