"""What people said of a decision: approved or rejected, by whom, why. Added to, never erased.

A verdict is a row of the ledger's table and a file beside the decision it is about. Each names the SHA-256 of the one
before it and of the decision's file, so that one taken out, added or changed in one place is noticed. No keys are
involved: who can rewrite the whole home can rewrite this too.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from filelock import FileLock

from regmix_pipeline.decisions.find import Decision, record_on_disk
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import fingerprint, read_json, sha256_of, write_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.records import now

Word = Literal["approved", "rejected"]


@dataclass(frozen=True)
class Verdict:
    """What somebody said of a decision.

    Attributes:
        verdict: its id.
        decision: id of the decision.
        number: its place among the decision's verdicts, from 1.
        said: approved or rejected.
        reason: why.
        by: who.
        through: the command line or a Dagster run.
        said_at: UTC time, ISO 8601.
        decision_sha256: of the decision's file at that time.
        before: SHA-256 of the verdict before it; "" for the first.
    """

    verdict: str
    decision: str
    number: int
    said: Word
    reason: str
    by: str
    through: str
    said_at: str
    decision_sha256: str
    before: str


def person() -> str:
    """The user of this machine, as far as it has a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without one
        return "somebody"


def say_of(lab: Lab, decision: Decision, said: Word, reason: str, by: str, through: str) -> Verdict:
    """Approve or reject a decision, on record for ever; the last word counts.

    Raises:
        LedgerError: no reason, no name, or the verdicts so far were altered.
    """
    for what, text in (("a reason", reason), ("a name", by)):
        if not text.strip():
            raise LedgerError(f"a verdict needs {what}", where=decision["decision"], remedy="say it: it is kept")
    folder = lab.path("decisions", decision["decision"])
    if record_on_disk(lab, decision["decision"]) is None:
        raise LedgerError("its record is gone", where=str(folder), remedy="restore decision.json, as the ledger has it")
    with FileLock(folder.with_name(f".{folder.name}.verdicts.lock")):
        _finish_last(lab, decision["decision"])
        wrong = altered(lab, decision["decision"])
        if wrong:
            raise LedgerError("; ".join(wrong), where=str(folder), remedy="restore the files before adding to them")
        number = len(verdicts_of(lab, decision["decision"])) + 1
        content: dict[str, Any] = {
            "decision": decision["decision"],
            "number": number,
            "said": said,
            "reason": reason.strip(),
            "by": by.strip(),
            "through": through,
            "said_at": now(),
            "decision_sha256": sha256_of(folder / "decision.json"),
            "before": sha256_of(_file(lab, decision["decision"], number - 1)) if number > 1 else "",
        }
        verdict = Verdict("v" + fingerprint("verdict", content), **content)
        # The row first: a file without one was not written here.
        lab.write_rows("verdicts", verdict.verdict, [content])
        write_json(_file(lab, decision["decision"], number), asdict(verdict))
    lab.build_ledger()
    return verdict


def _file(lab: Lab, decision: str, number: int) -> Path:
    return lab.path("decisions", decision, "verdicts", f"{number:04d}.json")


def _rows(lab: Lab, decision: str) -> dict[int, Verdict]:
    """Number -> verdict, as the parts of the ledger's table have it."""
    parts = sorted(lab.path("tables", "verdicts").glob("[!.]*.parquet"))
    rows = [(part.stem, row) for part in parts for row in pq.read_table(part).to_pylist()]
    names = {field.name for field in fields(Verdict)} - {"verdict"}
    own = [(name, row) for name, row in rows if row["decision"] == decision]
    return {row["number"]: Verdict(name, **{each: row[each] for each in names}) for name, row in own}


def _finish_last(lab: Lab, decision: str) -> None:
    """Write the last verdict's file where only its row was written before the process was killed."""
    rows = _rows(lab, decision)
    if rows and not _file(lab, decision, max(rows)).exists():
        write_json(_file(lab, decision, max(rows)), asdict(rows[max(rows)]))


def verdicts_of(lab: Lab, decision: str) -> list[Verdict]:
    """All that was said of a decision, in order, as its files have it; `altered` says whether they can be trusted."""
    found = [_read(path) for path in sorted(lab.path("decisions", decision, "verdicts").glob("[!.]*.json"))]
    return [verdict for verdict in found if verdict is not None]


def _read(path: Path) -> Verdict | None:
    try:
        return Verdict(**read_json(path))
    except (ValueError, TypeError):
        return None


def standing_of(lab: Lab, decision: str) -> Word | None:
    """The last word on a decision; None while nobody said anything."""
    said = verdicts_of(lab, decision)
    return said[-1].said if said else None


def altered(lab: Lab, decision: str) -> list[str]:
    """What is wrong with a decision's verdicts: taken out, added, changed, or about another text of the decision."""
    folder, rows = lab.path("decisions", decision), _rows(lab, decision)
    wrong, before = [], ""
    files = sorted((folder / "verdicts").glob("[!.]*.json"))
    for number, path in enumerate(files, 1):
        verdict = _read(path)
        if verdict is None or path.name != f"{verdict.number:04d}.json":
            wrong.append(f"{path.name} is no verdict, or not of that number")
            continue
        content = {name: value for name, value in asdict(verdict).items() if name != "verdict"}
        if verdict.number != number or verdict.before != before:
            wrong.append(f"verdict {verdict.verdict} does not follow the one before it: one was taken out or changed")
        if verdict.verdict != "v" + fingerprint("verdict", content):
            wrong.append(f"verdict {verdict.verdict} was changed after it was given")
        elif verdict.number not in rows:
            wrong.append(f"verdict {verdict.verdict} was not given through regmix: the ledger's table has no row of it")
        elif rows[verdict.number] != verdict:
            wrong.append(f"verdict {verdict.verdict} is another one in the ledger's table")
        text = folder / "decision.json"
        if text.is_file() and verdict.decision_sha256 != sha256_of(text):
            wrong.append(f"verdict {verdict.verdict} is about another text of {decision}")
        before = sha256_of(path)
    for number in sorted(set(rows) - set(range(1, len(files) + 1))):
        row = rows[number]
        wrong.append(f"verdict {row.verdict} ({row.said} by {row.by}) is in the ledger's table, and its file is gone")
    return wrong


def need_approval(lab: Lab, decision: str) -> None:
    """Raise unless the last word on a decision is that it is approved.

    Raises:
        LedgerError: nobody approved it, or it was rejected; names who and why.
    """
    said = verdicts_of(lab, decision)
    if said and said[-1].said == "approved":
        return
    how = f"was rejected by {said[-1].by}: {said[-1].reason}" if said else "was not approved yet"
    raise LedgerError(
        f"the decision {how}", where=decision, remedy=f"regmix approve {decision} --reason '...', or --unapproved"
    )
