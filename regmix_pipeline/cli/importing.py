"""The command that makes runs trained elsewhere evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from regmix_pipeline.cli.app import AsJson, answer, app, plain_errors
from regmix_pipeline.errors import StudyError


@app.command("import-runs")
@plain_errors
def import_runs(
    mixtures: Annotated[
        Path, typer.Argument(help="CSV, Parquet or JSON lines of weights, a row per run; or a tracker's export of all.")
    ],
    losses: Annotated[
        Path | None, typer.Argument(help="The same of losses. Default: the first table holds both.", show_default=False)
    ] = None,
    study: Annotated[
        Path | None, typer.Option("--study", help="Study whose domains and targets the columns must be.")
    ] = None,
    write: Annotated[Path, typer.Option(help="Study file to write when no study is given.")] = Path("imported.yaml"),
    target: Annotated[str | None, typer.Option(help="Target to minimise; default: all of them alike.")] = None,
    domains: Annotated[
        list[str] | None,
        typer.Option("--domains", help="Columns of weights, such as 'train_*'; the star names the domain; repeatable."),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--targets", help="Columns of losses, such as 'eval/*/loss'; repeatable."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, help="Tokens of each run, where no column says it.")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option("--parameters", min=1, help="Parameters of the models, where no column says it.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, help="Parameters of the runs that are fitted; default: the size of most runs."),
    ] = None,
    available: Annotated[
        Path | None,
        typer.Option("--available", help="Table of each domain's available_tokens, for a study that is written."),
    ] = None,
    partial: Annotated[
        Literal["refuse", "leave_out", "keep"],
        typer.Option("--partial", help="What becomes of runs that lack losses, steps or tokens, or did not finish."),
    ] = "refuse",
    ignore: Annotated[
        list[str] | None, typer.Option(help="Column that is neither domain nor target; repeatable.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Column to take though it looks like none; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check runs trained elsewhere, and make them evidence: of a study, or of a new one about them."""
    from regmix_pipeline.proxies.new_study import add_to_study, study_about
    from regmix_pipeline.study.settings.imports import RunTableSettings

    settings = RunTableSettings(
        domain_columns=tuple(domains or ()),
        target_columns=tuple(targets or ()),
        tokens=tokens,
        parameters=parameters,
        partial=partial,
        ignore=tuple(ignore or ()),
    )
    losses = losses or mixtures
    if study is not None:
        for name, value, field in (("--available", available, "available_tokens"), ("--size", size, "imported_size")):
            if value is not None:
                raise StudyError("the study says it", where=name, remedy=f"write {field} into {study}")
        taken = add_to_study(study, mixtures, losses, settings=settings)
        written = study
    else:
        taken = study_about(
            mixtures, losses, write, target, keep=keep or (), settings=settings, available=available, size=size
        )
        written = write
    names = list(dict.fromkeys(name for run in taken.runs for name in run.mixture.weights))
    losses_of = list(taken.runs[0].losses)
    lines = [
        f"{len(names)} domains: {', '.join(names)}",
        f"{len(losses_of)} targets: {', '.join(losses_of)}",
        *(f"column {column!r} says each run's {fact}" for fact, column in taken.columns.items()),
        *(f"column {each.column!r} is not taken: {each.why}" for each in taken.left_out),
        *taken.notes,
        f"{len(taken.runs)} runs checked; {written} names them. Next: regmix run --study {written}",
    ]
    content = {
        "runs": len(taken.runs),
        "study": str(written),
        "domains": names,
        "targets": losses_of,
        "columns": taken.columns,
        "left_out": {each.column: each.why for each in taken.left_out},
        "notes": taken.notes,
    }
    answer(content, lambda console: console.print("\n".join(lines), soft_wrap=True, markup=False), as_json)
