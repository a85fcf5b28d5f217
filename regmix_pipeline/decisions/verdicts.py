"""What people said of a decision: approved or rejected, by whom, why. Added to, never erased.

A verdict is a line of the home's journal, a file beside the decision it is about, and a row of the ledger's table. The
line counts: it is written first, and one that is taken out breaks the journal's chain or is known from its head, which
is kept in several places. A verdict may be signed as well; see `signatures`.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from regmix_pipeline.decisions.find import Decision, record_on_disk
from regmix_pipeline.decisions.signatures import SIGNATURE, signed
from regmix_pipeline.engine.journal import VERDICT, Line
from regmix_pipeline.engine.parts import part_bytes, part_path, write_part
from regmix_pipeline.engine.records import now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import (
    fingerprint,
    json_text,
    sha256_of,
    sha256_of_bytes,
    write_json,
    write_together,
)

Word = Literal["approved", "rejected"]
TABLE = "verdicts"


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
        journal: the journal's head at that time.
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
    journal: str


def current_user() -> str:
    """The user of this machine, as far as it has a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without one
        return "somebody"


def add_verdict(
    workspace: Workspace, decision: Decision, said: Word, reason: str, by: str, through: str, key: Path | None = None
) -> Verdict:
    """Approve or reject a decision, on record forever; the last word counts.

    Args:
        key: an SSH key to sign it with.

    Raises:
        LedgerError: no reason, no name, the verdicts so far were altered, or it cannot be signed.
    """
    for what, text in (("a reason", reason), ("a name", by)):
        if not text.strip():
            raise LedgerError(f"a verdict needs {what}", where=decision["decision"], remedy="say it: it is kept")
    name, folder, journal = (
        decision["decision"],
        workspace.path("decisions", decision["decision"]),
        workspace.records.journal,
    )
    if record_on_disk(workspace, name) is None:
        raise LedgerError("its record is gone", where=str(folder), remedy="restore decision.json, as the ledger has it")
    with FileLock(folder.with_name(f".{folder.name}.verdicts.lock")):
        journal.tend()
        _finish_last(workspace, name)
        wrong = altered(workspace, name)
        if wrong:
            raise LedgerError("; ".join(wrong), where=str(folder), remedy="restore the files before adding to them")
        number = len(verdicts_of(workspace, name)) + 1
        content: dict[str, Any] = {
            "decision": name,
            "number": number,
            "said": said,
            "reason": reason.strip(),
            "by": by.strip(),
            "through": through,
            "said_at": now(),
            "decision_sha256": sha256_of(folder / "decision.json"),
            "before": sha256_of(file_of(workspace, name, number - 1)) if number > 1 else "",
            "journal": str(journal.head),
        }
        verdict = Verdict("v" + fingerprint("verdict", content), **content)
        signature = {} if key is None else {"signature": signed(json_text(asdict(verdict)).encode(), key)}
        row = sha256_of_bytes(part_bytes(TABLE, _rows(verdict)))
        with journal.noted({"what": VERDICT, "verdict": asdict(verdict), "row": row, **signature}):
            _write(workspace, verdict, signature.get("signature", ""))
    workspace.build_ledger()
    return verdict


def _write(workspace: Workspace, verdict: Verdict, signature: str) -> None:
    write_part(workspace.path("tables"), TABLE, verdict.verdict, _rows(verdict))
    path = file_of(workspace, verdict.decision, verdict.number)
    if signature:
        write_together({path.with_name(path.name + SIGNATURE): signature.encode()})
    write_json(path, asdict(verdict))


def _rows(verdict: Verdict) -> list[dict[str, Any]]:
    """The verdict's row of the ledger's table."""
    content = asdict(verdict)
    return [{"version": content.pop("verdict"), **content}]


def file_of(workspace: Workspace, decision: str, number: int) -> Path:
    """The file of a decision's verdict."""
    return workspace.path("decisions", decision, "verdicts", f"{number:04d}.json")


def _lines(workspace: Workspace, decision: str) -> dict[int, Line]:
    """Number of a verdict -> its line of the journal."""
    return {
        line.says["verdict"]["number"]: line
        for line in workspace.records.journal.lines
        if line.what == VERDICT and (line.says.get("verdict") or {}).get("decision") == decision
    }


def _verdict(content: Any) -> Verdict | None:
    try:
        return Verdict(**content)
    except TypeError:
        return None


def verdicts_of(workspace: Workspace, decision: str) -> list[Verdict]:
    """All that was said of a decision, in order, as the journal has it; `altered` says whether all of it is intact."""
    found = [_verdict(line.says["verdict"]) for _, line in sorted(_lines(workspace, decision).items())]
    return [verdict for verdict in found if verdict is not None]


def _finish_last(workspace: Workspace, decision: str) -> None:
    """Write the files of a decision's last verdict where they are missing, as after a kill: its line has all of it."""
    lines = _lines(workspace, decision)
    if not lines:
        return
    says = lines[max(lines)].says
    verdict = _verdict(says["verdict"])
    if verdict is not None and not (file_of(workspace, decision, verdict.number).exists() and _row(workspace, verdict)):
        _write(workspace, verdict, says.get("signature", ""))


def _part(workspace: Workspace, verdict: Verdict) -> Path:
    return part_path(workspace.path("tables"), TABLE, verdict.verdict)


def _row(workspace: Workspace, verdict: Verdict) -> Verdict | None:
    """The verdict as the part of the ledger's table has it."""
    try:
        rows = pq.read_table(_part(workspace, verdict)).to_pylist()
    except (OSError, pa.ArrowException):
        return None
    names = {field.name for field in fields(Verdict)} - {"verdict"}
    return _verdict({"verdict": verdict.verdict} | {name: rows[0].get(name) for name in names}) if rows else None


def altered(workspace: Workspace, decision: str) -> list[str]:
    """What is wrong with a decision's verdicts: taken out, added, changed, or about another text of the decision."""
    folder, lines, wrong = workspace.path("decisions", decision), _lines(workspace, decision), []
    for number, line in sorted(lines.items()):
        verdict = _verdict(line.says["verdict"])
        if verdict is None or number < 1:
            wrong.append(f"line {line.number} of the journal is not a verdict")
            continue
        said = f"verdict {verdict.verdict} ({verdict.said} by {verdict.by})"
        path = file_of(workspace, decision, number)
        signature = path.with_name(path.name + SIGNATURE)
        if not path.is_file() or _row(workspace, verdict) is None:
            what = "file" if not path.is_file() else "row in the ledger's table"
            if not workspace.records.journal.unfinished(line.number):
                wrong.append(f"{said} is in the journal, and its {what} is gone or damaged")
            continue
        if path.read_bytes() != json_text(asdict(verdict)).encode():
            wrong.append(f"the file of {said} was changed after it was given")
        if _row(workspace, verdict) != verdict or sha256_of(_part(workspace, verdict)) != line.says.get("row"):
            wrong.append(f"the row of {said} in the ledger's table was changed after it was given")
        held = signature.read_bytes() if signature.is_file() else b""
        if held != line.says.get("signature", "").encode():
            wrong.append(f"the signature of {said} was changed or taken away")
        text = folder / "decision.json"
        if text.is_file() and verdict.decision_sha256 != sha256_of(text):
            wrong.append(f"{said} is about another text of {decision}")
    for path in sorted((folder / "verdicts").glob("[!.]*.json")):
        if path.name not in {f"{number:04d}.json" for number in lines}:
            wrong.append(f"{path.name} was not given through regmix: the journal has no line of it")
    return [
        *wrong,
        *_strange_rows(workspace, decision, {line.says["verdict"].get("verdict") for line in lines.values()}),
    ]


def _strange_rows(workspace: Workspace, decision: str, known: set[str]) -> list[str]:
    """Parts of the ledger's table that are about a decision and on no line of the journal."""
    wrong = []
    for part in sorted(workspace.path("tables", TABLE).glob("[!.]*.parquet")):
        try:
            rows = pq.read_table(part).to_pylist() if part.stem not in known else []
        except (OSError, pa.ArrowException):
            rows = []
        if any(row["decision"] == decision for row in rows):
            wrong.append(f"verdict {part.stem} in the ledger's table was not given through regmix")
    return wrong


def need_approval(workspace: Workspace, decision: str) -> None:
    """Raise unless the last word on a decision is that it is approved.

    Raises:
        LedgerError: nobody approved it, or it was rejected; names who and why.
    """
    said = verdicts_of(workspace, decision)
    if said and said[-1].said == "approved":
        return
    how = f"was rejected by {said[-1].by}: {said[-1].reason}" if said else "was not approved yet"
    raise LedgerError(
        f"the decision {how}", where=decision, remedy=f"regmix approve {decision} --reason '...', or --unapproved"
    )
