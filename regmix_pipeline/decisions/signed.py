"""Who signed the verdicts on a decision."""

from __future__ import annotations

from pathlib import Path

from regmix_pipeline.decisions.links import Difference, Link
from regmix_pipeline.decisions.signatures import SIGNATURE, checked
from regmix_pipeline.decisions.verdicts import file_of, verdicts_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError


def signatures_link(workspace: Workspace, decision: str, signers: Path) -> Link:
    """The signatures of all verdicts on a decision; ``files`` counts the signatures that are there.

    Raises:
        LedgerError: there is no file of allowed signers, or no ssh-keygen.
    """
    said = verdicts_of(workspace, decision)
    link = Link("signatures", len(said))
    for verdict in said:
        path = file_of(workspace, decision, verdict.number)
        signature = path.with_name(path.name + SIGNATURE)
        if not signature.is_file() or not path.is_file():
            continue
        link.files += 1
        found = checked(path.read_bytes(), signature, signers)
        if found.problem:
            link.differences.append(Difference(decision, "altered", f"verdict {verdict.verdict}: {found.problem}"))
        elif found.by != verdict.by:
            what = f"verdict {verdict.verdict} is said to be by {verdict.by}, and {found.by} signed it"
            link.differences.append(Difference(decision, "altered", what))
    return link


def need_signature(workspace: Workspace, decision: str, signers: Path) -> None:
    """Raise unless the last word on a decision carries the signature of an allowed signer.

    Raises:
        LedgerError: it is not signed, or not by one of them.
    """
    link = signatures_link(workspace, decision, signers)
    said = verdicts_of(workspace, decision)
    last = file_of(workspace, decision, len(said))
    wrong = [each.what for each in link.differences]
    if said and not last.with_name(last.name + SIGNATURE).is_file():
        wrong.append(f"verdict {said[-1].verdict} is not signed")
    if wrong:
        raise LedgerError(
            "; ".join(wrong), where=decision, remedy=f"regmix approve {decision} --reason '...' --sign KEY"
        )
