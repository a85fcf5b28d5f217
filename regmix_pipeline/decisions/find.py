"""Decisions that a home holds, by id, by the start of one, or by their place in time."""

from __future__ import annotations

from typing import Any

from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import read_json
from regmix_pipeline.lab import Lab

Decision = dict[str, Any]


def decisions(lab: Lab) -> list[Decision]:
    """Every decision record that the home holds, the oldest first."""
    found = [read_json(path) for path in lab.path("decisions").glob("[!.]*/decision.json")]
    return sorted(found, key=lambda record: (record["decided_at"], record["decision"]))


def find_decision(lab: Lab, asked: str | None = None) -> Decision:
    """A decision record.

    Args:
        lab: the study on disk.
        asked: an id, the start of one, "previous", or None for the current decision.

    Raises:
        LedgerError: there is none, or several ids start so.
    """
    if asked is None or asked == "current":
        return lab.json("mixture_decision", "decision.json")
    found = decisions(lab)
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
