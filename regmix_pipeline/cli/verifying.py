"""`regmix verify-run`: what a large run really drew, beside what was decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.catalogue import RUN_LOGS
from regmix_pipeline.tables import show_table

if TYPE_CHECKING:
    from regmix_pipeline.executed.drift import RunCheck, SourceRun


@app.command("verify-run")
@plain_errors
def verify_run(
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG...",
            help="The trainer's account, in the order of the run: CSV, Parquet, JSON lines; or states of litdata's or "
            "OLMo-core's loader as JSON.",
        ),
    ],
    plan: Annotated[
        Path | None, typer.Option("--plan", help="The *.plan.json of the export; default: the study's decision.")
    ] = None,
    decision: Annotated[
        str | None,
        typer.Option("--decision", help="Its id, the start of one, or previous; default: the current one."),
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option("--phase", metavar="NAME", help="Of phases chosen at once, the one that was run; default: last."),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help=f"One of: {', '.join(RUN_LOGS)}; default: the first that fits.")
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the run's tokens that a source may have more or fewer than planned."),
    ] = 0.01,
    columns: Annotated[
        str, typer.Option("--columns", help="Columns of tokens, the star being the source, such as 'data/*/tokens'.")
    ] = "",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="What the log calls a domain, NAME=DOMAIN; may be given several times."),
    ] = None,
    cumulative: Annotated[
        bool | None,
        typer.Option("--cumulative/--per-step", help="Whether numbers are totals since the start, or of each step."),
    ] = None,
    sequence: Annotated[
        int | None,
        typer.Option("--sequence-length", min=1, help="Tokens of a sequence: allows for the luck of a random draw."),
    ] = None,
    order: Annotated[
        Path | None, typer.Option("--order", help="OLMo-core's global_indices_*.npy, with a state of its loader.")
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Verify a large run: tokens drawn of each source beside the decided mixture; which source drifted, from when.

    Leaves with status 1 when a source drifted or was repeated more often than the plan allows.
    """
    from regmix_pipeline.decisions.find import find_decision
    from regmix_pipeline.executed.drift import verify_run as verified
    from regmix_pipeline.executed.log import Options
    from regmix_pipeline.executed.planned import plan_in, plan_of

    if plan is not None and decision is not None:
        raise StudyError("is given beside a plan", where="--decision", remedy="give one of them")
    if plan is not None and phase is not None:
        raise StudyError("is given beside a plan, which is of one", where="--phase", remedy="give one of them")
    planned = (
        plan_in(plan) if plan is not None else plan_of(find_decision(open_workspace(study, home), decision), phase)
    )
    options = Options(columns, _names(name or []), cumulative, sequence, order)
    found = verified(logs, planned, options, form, tolerance)
    answer(found.as_json(), lambda console: _show(found, console), as_json)
    if not found.on_plan:
        raise typer.Exit(1)


def _names(given: list[str]) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in given]
    if wrong := [text for text, (before, _, after) in zip(given, pairs, strict=True) if not before or not after]:
        raise StudyError(f"{wrong[0]!r} is not NAME=DOMAIN", where="--name", remedy="give for instance --name c4=web")
    return {before: after for before, _, after in pairs}


def _show(found: RunCheck, console: Console) -> None:
    rows = [
        (
            each.domain,
            f"{each.planned:.2%}",
            f"{each.executed:.2%}",
            f"{each.tokens:,}",
            "unknown" if each.epochs is None else f"{each.epochs:.2f}",
            "drifted" if each.drifted else "repeated" if each.repeated else "as planned",
        )
        for each in sorted(found.sources, key=lambda each: -abs(each.executed - each.planned))
    ]
    headings = ("source", "planned", "drawn", "tokens", "epochs", "")
    of = f"{found.decision}, phase {found.phase} alone" if found.phase else found.decision
    show_table(console, headings, rows, title=f"{of}: {found.tokens:,} tokens; {found.said}")
    for each in found.sources:
        if each.drifted:
            console.print(_drift(each), markup=False, style="bold yellow", soft_wrap=True)
        if each.repeated:
            said = f"{each.domain} was read {each.epochs:.2f} times, more often than the plan allows"
            console.print(said, markup=False, style="bold yellow", soft_wrap=True)
    if found.on_plan:
        console.print("every source is as planned", style="green")


def _drift(each: SourceRun) -> str:
    when = "from the start" if not each.from_tokens else f"from {each.from_tokens:,} tokens on"
    step = f" (step {each.from_step:,})" if each.from_tokens and each.from_step is not None else ""
    return f"{each.domain} drifted {when}{step}: {each.share_since:.2%} since then, planned {each.planned:.2%}"
