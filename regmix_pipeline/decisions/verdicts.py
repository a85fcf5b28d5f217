"""What people said of a decision: approved or rejected, by whom, why. Added to, never erased.

A verdict is one file beside the decision it is about. Each names the SHA-256 of the one before it and of the decision's
file, so that one taken out or changed later is noticed.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass
from typing import Any, Literal

from filelock import FileLock

from regmix_pipeline.decisions.find import Decision
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
    with FileLock(folder.with_name(f".{folder.name}.verdicts.lock")):
        earlier = verdicts_of(lab, decision["decision"])
        wrong = altered(lab, decision["decision"])
        if wrong:
            raise LedgerError("; ".join(wrong), where=str(folder), remedy="restore the files before adding to them")
        number = len(earlier) + 1
        content: dict[str, Any] = {
            "decision": decision["decision"],
            "number": number,
            "said": said,
            "reason": reason.strip(),
            "by": by.strip(),
            "through": through,
            "said_at": now(),
            "decision_sha256": sha256_of(folder / "decision.json"),
            "before": sha256_of(folder / "verdicts" / f"{number - 1:04d}.json") if earlier else "",
        }
        verdict = Verdict("v" + fingerprint("verdict", content), **content)
        write_json(folder / "verdicts" / f"{number:04d}.json", asdict(verdict))
        for each in (*earlier, verdict):  # an earlier one may have been killed before its row was written
            if not lab.path("tables", "verdicts", f"{each.verdict}.parquet").exists():
                lab.write_rows("verdicts", each.verdict, [{name: getattr(each, name) for name in _COLUMNS}])
    lab.build_ledger()
    return verdict


_COLUMNS = ("decision", "number", "said", "reason", "by", "through", "said_at")


def verdicts_of(lab: Lab, decision: str) -> list[Verdict]:
    """All that was said of a decision, in order."""
    files = sorted(lab.path("decisions", decision, "verdicts").glob("[!.]*.json"))
    return [Verdict(**read_json(path)) for path in files]


def standing_of(lab: Lab, decision: str) -> Word | None:
    """The last word on a decision; None while nobody said anything."""
    said = verdicts_of(lab, decision)
    return said[-1].said if said else None


def altered(lab: Lab, decision: str) -> list[str]:
    """What is wrong with the chain of a decision's verdicts: taken out, changed, or about another text of it."""
    folder = lab.path("decisions", decision)
    wrong, before = [], ""
    for place, verdict in enumerate(verdicts_of(lab, decision), 1):
        path = folder / "verdicts" / f"{verdict.number:04d}.json"
        content = {name: value for name, value in asdict(verdict).items() if name != "verdict"}
        if verdict.number != place or verdict.before != before:
            wrong.append(f"verdict {verdict.verdict} does not follow the one before it: one was taken out or changed")
        if verdict.verdict != "v" + fingerprint("verdict", content):
            wrong.append(f"verdict {verdict.verdict} was changed after it was given")
        if verdict.decision_sha256 != sha256_of(folder / "decision.json"):
            wrong.append(f"verdict {verdict.verdict} is about another text of {decision}")
        before = sha256_of(path)
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
