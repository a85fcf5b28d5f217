"""The audit of a decision: what it says, who said what of it, what it is based on, and whether all that still holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console

from regmix_pipeline.decisions.alternatives import beyond_limits
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.journal_check import HeadSource, no_reported_heads
from regmix_pipeline.decisions.manifest import manifest_link
from regmix_pipeline.decisions.phases import phases_in_words
from regmix_pipeline.decisions.repetition import epochs_in_words, prices_in_words
from regmix_pipeline.decisions.signed import signatures_link
from regmix_pipeline.decisions.sizes import whose
from regmix_pipeline.decisions.verdicts import verdicts_of
from regmix_pipeline.decisions.verification import verified
from regmix_pipeline.engine.ledger import ledger_is_current
from regmix_pipeline.engine.verified import rows_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.tables import show_table

SHOWN = 8
"""Differences of one asset listed in a terminal; all of them are in the JSON."""


def audit_of(
    workspace: Workspace,
    asked: str | None = None,
    *,
    contents: bool = True,
    head_source: HeadSource = no_reported_heads,
    signers: Path | None = None,
    against: Path | None = None,
) -> dict[str, Any]:
    """Everything about a decision, JSON-able: its record, verdicts, confirmation, and the chain behind it, verified.

    Args:
        workspace: the study on disk.
        asked: the decision; see `find_decision`.
        contents: take the checksums of tokens, model weights and source documents too.
        head_source: heads of the journal that are kept outside the home's own files, such as in Dagster's event log.
        signers: file of allowed signers, for the verdicts' and the manifest's signatures.
        against: a manifest to compare the home with.

    Raises:
        LedgerError: there is no such decision, or the signatures cannot be checked.
    """
    record, current = find_decision(workspace, asked), ledger_is_current(workspace.records, workspace.ledger)
    notes = []
    try:
        chain = verified(workspace, record, contents=contents, with_ledger=current, head_source=head_source)
    except LookupError as error:
        notes.append(f"Dagster's event log was not compared: {error}")
        chain = verified(workspace, record, contents=contents, with_ledger=current)
    if signers is not None:
        chain.append(signatures_link(workspace, record["decision"], signers))
        if unsigned := chain[-1].things - chain[-1].files:
            notes.append(f"{unsigned} of {chain[-1].things} verdicts are not signed.")
    if against is not None:
        chain.append(manifest_link(workspace, against, contents=contents, signers=signers))
    return {
        "decision": record["decision"],
        "record": record,
        "verdicts": [asdict(verdict) for verdict in verdicts_of(workspace, record["decision"])],
        "confirmation": _confirmation(workspace, record["decision"]),
        "chain": [asdict(link) for link in chain],
        "contents": contents,
        "ledger_is_current": current,
        "notes": notes,
    }


def holds(audit: Mapping[str, Any]) -> bool:
    """Whether nothing in the chain was altered or is gone."""
    return not any(each["kind"] != "changed since" for link in audit["chain"] for each in link["differences"])


def _confirmation(workspace: Workspace, decision: str) -> list[dict[str, Any]]:
    """What larger models said of it: mean loss and its standard error over seeds, per mixture, on the objective."""
    own = [record for record in workspace.records.history("confirmation") if decision in record.inputs.values()]
    if not own:
        return []
    try:
        rows = rows_of(own[-1], workspace.home, "confirmations")
    except LedgerError:  # it is gone or was altered, which the chain shows
        return []
    with duckdb.connect() as connection:
        connection.register("confirmations", rows)
        found = connection.execute(
            "select name, avg(loss) as loss, stddev_samp(loss) / sqrt(count(*)) as standard_error, "
            "count(*) as seeds from (select distinct name, seed, loss from confirmations "
            "where target = 'objective') group by name order by loss"
        )
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def show_audit(audit: Mapping[str, Any], console: Console) -> None:
    """Print an audit: the decision, what it was compared with, the chain, and the conclusion last."""
    record = audit["record"]
    console.print(f"{record['decision']} · {record['decided_at']} · study {record['study']}", style="bold")
    console.print(record["summary"], markup=False)
    for line in _circumstances(audit):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _show_compared(record, console)
    _show_chain(audit, console)
    _show_differences(audit, console)


def _circumstances(audit: Mapping[str, Any]) -> list[str]:
    record, triggered = audit["record"], audit["record"].get("triggered") or {}
    lines = []
    if triggered:
        why = f": {triggered['why']}" if triggered.get("why") else ""
        lines.append(f"triggered by {triggered.get('by')} through {triggered.get('through')}{why}")
    runs = [run for run in record.get("runs", {}) if run]
    if runs:
        lines.append(f"made in {len(runs)} Dagster runs, the decision in {record['run'] or 'none'}")
    failed = [check for check in record["checks"] if not check["passed"]]
    lines.append(f"{len(record['checks']) - len(failed)} of {len(record['checks'])} checks passed")
    lines += [f"  failed: {check['check']}: {check['description']}" for check in failed]
    lines += [f"flag: {flag}" for flag in record["flags"]]
    lines += [*phases_in_words(record), *epochs_in_words(record), *prices_in_words(record)]
    for verdict in audit["verdicts"]:
        lines.append(f"{verdict['said']} by {verdict['by']}, {verdict['said_at']}: {verdict['reason']}")
    if not audit["verdicts"]:
        lines.append("neither approved nor rejected yet")
    confirmed = {row["name"]: row for row in audit["confirmation"]}
    if {"chosen", "natural"} <= set(confirmed):
        gain = confirmed["natural"]["loss"] - confirmed["chosen"]["loss"]
        side = "below" if gain > 0 else "above"
        best = "best of all" if audit["confirmation"][0]["name"] == "chosen" else "not the best"
        lines.append(f"larger models: chosen {abs(gain):.3f} nats per token {side} natural, {best} that were trained")
    else:
        lines.append("not confirmed by larger models")
    return lines


def _show_compared(record: Mapping[str, Any], console: Console) -> None:
    found = [row for row in record["predictions"] if row["target"] == "objective"]
    chosen = next(row for row in found if row["name"] == "chosen")
    rows = []
    for row in sorted(found, key=lambda row: row["predicted"]):
        better = "the same" if row["mixture"] == chosen["mixture"] else f"{row['predicted'] - chosen['predicted']:+.3f}"
        rows.append(
            (
                row["name"],
                row["mixture"],
                f"{row['predicted']:.3f}",
                f"{row['low']:.3f} to {row['high']:.3f}",
                "" if row["name"] == "chosen" else better,
                beyond_limits(record, ((record.get("alternatives") or {}).get(row["name"]) or {}).get("weights") or {}),
            )
        )
    headings = ("mixture", "mixture id", "predicted", "90% interval", "chosen better by", "")
    title = f"Considered: predicted loss of {whose(record)} on the objective, nats per token"
    show_table(console, headings, rows, title=title, left=["mixture id", ""])


def _show_chain(audit: Mapping[str, Any], console: Console) -> None:
    rows = [
        (link["asset"], str(link["things"]), link["made"][1][:16].replace("T", " "), str(link["files"]), _state(link))
        for link in audit["chain"]
    ]
    headings = ("asset", "versions", "made until", "files", "state")
    show_table(console, headings, rows, title="The chain, from the decision to the documents", left=["state"])


def _state(link: Mapping[str, Any]) -> str:
    kinds = [each["kind"] for each in link["differences"]]
    words = [f"{kinds.count(kind)} {kind}" for kind in ("altered", "gone", "changed since") if kind in kinds]
    if link["unsummed"]:
        words.append(f"{link['unsummed']} files have no checksum on record")
    return ", ".join(words) or "as it was"


def _show_differences(audit: Mapping[str, Any], console: Console) -> None:
    styles = {"altered": "bold red", "gone": "yellow", "changed since": "dim"}
    for link in audit["chain"]:
        for each in link["differences"][:SHOWN]:
            text = f"{each['kind']}: {each['place']}: {each['what']}"
            console.print(text, style=styles[each["kind"]], markup=False, highlight=False, soft_wrap=True)
        if len(link["differences"]) > SHOWN:
            console.print(f"and {len(link['differences']) - SHOWN} more of {link['asset']}; --json lists all")
    for note in audit["notes"]:
        console.print(note, markup=False, highlight=False)
    if not audit["ledger_is_current"]:
        console.print("The ledger is gone or behind its records, so it was not compared; `regmix run` makes it again.")
    things, files = (sum(link[what] for link in audit["chain"]) for what in ("things", "files"))
    if holds(audit):
        how = "" if audit["contents"] else " (contents of tokens, weights and sources not looked at)"
        unsummed = sum(link["unsummed"] for link in audit["chain"])
        if unsummed:
            how += f"; of {unsummed} more no checksum was on record, so nothing is known"
        console.print(f"The chain holds: {things} versions and {files} files are as they were{how}.", style="green")
    else:
        console.print("The chain does not hold: see above what was altered or is gone.", style="bold red")
