"""The command that writes a decision for a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.cli.auditing import DecisionArgument, Signers, reported_heads
from regmix_pipeline.errors import StudyError
from regmix_pipeline.exports.decided import Written, export_decision
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.tables import show_table


@app.command()
@plain_errors
def export(
    decision: DecisionArgument = None,
    form: Annotated[str, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}.")] = "regmix",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; default: DECISION_FORMAT.* in this folder.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="TEMPLATE", help="Where a domain's data lie, for instance 's3://bucket/{domain}'."
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Tokens of the large run; default: limits.target_tokens.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the trainer's own shuffling.")] = 42,
    documents: Annotated[
        bool | None,
        typer.Option(
            "--documents/--packed",
            help="Whether samples are whole documents or pieces of equal length, where a format counts samples.",
        ),
    ] = None,
    unapproved: Annotated[
        bool, typer.Option("--unapproved", help="Write it although nobody approved it; the file states that.")
    ] = False,
    signers: Signers = None,
    phase: Annotated[
        str | None,
        typer.Option(
            "--phase", metavar="NAME", help="Of phases chosen at once, the one to write the mixture of; default: last."
        ),
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    corpora: Annotated[
        Path | None, typer.Option("--corpora", help="Folder of downloaded corpora; default beside the home.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a decided mixture as a file that a trainer reads, and the sampling plan of every file beside it."""
    if decision in FORMATS:
        raise StudyError(
            "names a format, not a decision", where=str(decision), remedy=f"give it as --format {decision}"
        )
    written = export_decision(
        open_workspace(study, home, corpora),
        decision,
        form,
        out=out,
        template=data,
        tokens=tokens,
        seed=seed,
        documents=documents,
        unapproved=unapproved,
        head_source=reported_heads,
        signers=signers,
        phase=phase,
    )
    answer(written.as_json(), lambda console: _show(written, form, console), as_json)


def _show(written: Written, form: str, console: Console) -> None:
    about = written.export.about()
    console.print(f"{about['decision']}: {about['summary']}", markup=False, highlight=False)
    console.print(about["approval"], markup=False, style="green" if about["approved"] else "bold yellow")
    if written.domains:
        _show_domains(written, console)
    else:
        console.print("no plan: the study states no limits.target_tokens; give --tokens", style="yellow")
    if FORMATS[form].silent and written.export.repeated:
        epochs = ", ".join(f"{domain} {times:g} times" for domain, times in written.export.repeated.items())
        console.print(f"warning: {form} repeats a domain without saying so: {epochs}", markup=False, style="yellow")
    for path in written.files:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def _show_domains(written: Written, console: Console) -> None:
    several = any(row["files"] > 1 for row in written.domains)
    rows = []
    for row in sorted(written.domains, key=lambda row: -row["tokens"]):
        known = row["available_tokens"] is not None
        rows.append(
            (
                row["domain"],
                f"{row['share']:.2%}",
                f"{row['tokens']:,}",
                f"{row['available_tokens']:,}" if known else "unknown",
                f"{row['epochs']:.3f}" if known else "",
                f"{row['whole_epochs']} + {row['partial_epoch_tokens']:,}" if known else "",
                *([str(row["files"])] if several else []),
            )
        )
    headings = ("domain", "share", "tokens", "available", "epochs", "whole + partial", *(["files"] if several else []))
    own = "".join(f", of {name} {most:g}" for name, most in written.export.own_epochs.items())
    title = f"{written.export.budget:,} tokens, at most {written.export.max_epochs:g} epochs{own}"
    show_table(console, headings, rows, title=title)
