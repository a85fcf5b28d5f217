"""Commands about a decision as a whole: audit it, approve it, reject it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, answer, app, open_lab, plain_errors
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import Word, person, say_of
from regmix_pipeline.lab import Lab

Asked = Annotated[
    str | None,
    typer.Argument(metavar="[DECISION]", help="Its id, the start of one, or previous; default: the current one."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for ever.")]
By = Annotated[str | None, typer.Option("--by", help="Who says so; default: the user of this machine.")]


@app.command()
@plain_errors
def audit(
    decision: Asked = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    contents: Annotated[
        bool, typer.Option("--contents/--no-contents", help="Take checksums of tokens, weights and source text too.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """The chain from a decision to its documents: what it rests on, and whether every hash still holds.

    Leaves with status 1 when anything was altered or is gone.
    """
    from regmix_pipeline.decisions.audit import audit_of, holds, show_audit

    lab = open_lab(study, home, data)
    found = audit_of(lab, decision, contents=contents)
    answer(found, lambda console: show_audit(found, console), as_json)
    if not holds(found):
        raise typer.Exit(1)


def _verdict_command(word: Word) -> Callable[..., None]:
    def command(
        decision: Asked = None,
        reason: Reason = "",
        by: By = None,
        study: StudyFile = None,
        home: Home = None,
        as_json: AsJson = False,
    ) -> None:
        _say(decision, word, reason, by, open_lab(study, home), as_json)

    return plain_errors(command)


app.command("approve", help="Approve a decision, with a reason: it may be exported from now on.")(
    _verdict_command("approved")
)
app.command("reject", help="Reject a decision, with a reason: no export of it is made.")(_verdict_command("rejected"))


def _say(asked: str | None, word: Word, reason: str, by: str | None, lab: Lab, as_json: bool) -> None:
    record = find_decision(lab, asked)
    verdict = say_of(lab, record, word, reason, by or person(), "regmix")

    def show(console: Console) -> None:
        console.print(f"{verdict.decision} {verdict.said} by {verdict.by}: {verdict.reason}", markup=False)
        console.print(record["summary"], markup=False, style="dim")

    answer(asdict(verdict), show, as_json)
