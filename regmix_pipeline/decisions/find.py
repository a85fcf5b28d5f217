"""Decisions that a home holds, by id, by the start of one, or by their place in time."""

from __future__ import annotations

import json
from typing import Any

from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import read_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.build import read_ledger

Decision = dict[str, Any]


def decisions(lab: Lab) -> list[Decision]:
    """Every decision record of the home, the oldest first; where a file is gone, as the ledger has it."""
    found = {record["decision"]: record for record in in_ledger(lab)}
    for path in lab.path("decisions").glob("[!.]*/decision.json"):
        record = read_json(path)
        found[record["decision"]] = record
    return sorted(found.values(), key=lambda record: (record["decided_at"], record["decision"]))


def in_ledger(lab: Lab) -> list[Decision]:
    """The decision records that the ledger holds; none without a ledger."""
    if not lab.ledger.is_file():
        return []
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute("select distinct record from decisions").fetchall()
    return [json.loads(text) for (text,) in rows]


def find_decision(lab: Lab, asked: str | None = None) -> Decision:
    """A decision record.

    Args:
        lab: the study on disk.
        asked: an id, the start of one, "previous", or None for the current decision.

    Raises:
        LedgerError: there is none, or several ids start so.
    """
    found = decisions(lab)
    if asked is None or asked == "current":
        current = lab.need("mixture_decision").version
        return next(record for record in found if record["decision"] == current)
    if asked == "previous":
        before = previous_of(lab, find_decision(lab))
        if before is None:
            raise LedgerError("there is no earlier decision", where=str(lab.path("decisions")))
        return before
    fitting = [record for record in found if record["decision"].startswith(asked)]
    if len(fitting) != 1:
        listed = ", ".join(record["decision"] for record in fitting or found) or "none"
        raise LedgerError(
            f"{'several decisions start' if fitting else 'no decision starts'} with {asked!r}",
            where=str(lab.path("decisions")),
            remedy=f"name one of: {listed}",
        )
    return fitting[0]


def previous_of(lab: Lab, record: Decision) -> Decision | None:
    """The decision of the same study taken last before ``record``; None for the first."""
    earlier = [
        each
        for each in decisions(lab)
        if each["decided_at"] <= record["decided_at"] and each["decision"] != record["decision"]
    ]
    return earlier[-1] if earlier else None
