"""Commands about a decision: audit it, approve it, reject it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import Word, add_verdict, current_user
from regmix_pipeline.engine.journal import Head
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError

DecisionArgument = Annotated[
    str | None,
    typer.Argument(metavar="[DECISION]", help="Its id, the start of one, or previous; default: the current one."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept permanently.")]
Sign = Annotated[Path | None, typer.Option("--sign", metavar="KEY", help="SSH key to sign it with.")]
Signers = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        envvar="REGMIX_ALLOWED_SIGNERS",
        help="File of allowed signers, as ssh-keygen reads it: signatures are checked.",
    ),
]
By = Annotated[str | None, typer.Option("--by", help="Who says so; default: the user of this machine.")]


@app.command()
@plain_errors
def audit(
    decision: DecisionArgument = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    contents: Annotated[
        bool, typer.Option("--contents/--no-contents", help="Take checksums of tokens, weights and source text too.")
    ] = True,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Write the digests of all that it is based on, to keep elsewhere.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Compare with a manifest that was kept elsewhere.")
    ] = None,
    signers: Signers = None,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """The chain from a decision to its documents: what it is based on, and whether every hash still holds.

    Leaves with status 1 when anything was altered or is gone.
    """
    from regmix_pipeline.decisions.audit import audit_of, holds, show_audit
    from regmix_pipeline.decisions.manifest import write_manifest

    if sign is not None and manifest is None:
        raise LedgerError("there is nothing to sign", where="--sign", remedy="give --manifest FILE with it")
    workspace = open_workspace(study, home, data)
    found = audit_of(
        workspace, decision, contents=contents, head_source=reported_heads, signers=signers, against=against
    )
    whole = holds(found)
    written = write_manifest(workspace, found["record"], manifest, sign) if manifest is not None and whole else []

    def show(console: Console) -> None:
        show_audit(found, console)
        for path in written:
            console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
        if manifest is not None and not whole:
            console.print(f"{manifest} was not written: a manifest is of what holds.", markup=False, soft_wrap=True)

    answer(found, show, as_json)
    if not whole:
        raise typer.Exit(1)


def reported_heads(home: Path) -> list[tuple[Head, str]]:
    """Heads of the journal in Dagster's event log; see `regmix_pipeline.assets.heads`."""
    from regmix_pipeline.assets import heads

    return heads.reported_heads(home)


def _verdict_command(word: Word) -> Callable[..., None]:
    def command(
        decision: DecisionArgument = None,
        reason: Reason = "",
        by: By = None,
        study: StudyFile = None,
        home: Home = None,
        sign: Sign = None,
        as_json: AsJson = False,
    ) -> None:
        _say(decision, word, reason, by, open_workspace(study, home), sign, as_json)

    return plain_errors(command)


app.command("approve", help="Approve a decision, with a reason: it may be exported from now on.")(
    _verdict_command("approved")
)
app.command("reject", help="Reject a decision, with a reason: no export of it is made.")(_verdict_command("rejected"))


def _say(
    asked: str | None, word: Word, reason: str, by: str | None, workspace: Workspace, key: Path | None, as_json: bool
) -> None:
    record = find_decision(workspace, asked)
    verdict = add_verdict(workspace, record, word, reason, by or current_user(), "regmix", key)
    if (workspace.home / "dagster").is_dir():
        from regmix_pipeline.assets.verdicts import tell_verdict

        tell_verdict(workspace, verdict, record)

    def show(console: Console) -> None:
        console.print(f"{verdict.decision} {verdict.said} by {verdict.by}: {verdict.reason}", markup=False)
        console.print(record["summary"], markup=False, style="dim")

    answer(asdict(verdict), show, as_json)
