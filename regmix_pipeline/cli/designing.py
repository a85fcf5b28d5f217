"""The command that writes the mixtures of a study's design for whoever trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.exports.design import Designed, write_design
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.numbers import amount
from regmix_pipeline.stopping import stoppable
from regmix_pipeline.study_check.check import begin
from regmix_pipeline.tables import show_table


@app.command()
@plain_errors
@stoppable
def mixtures(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    form: Annotated[str, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}.")] = "json",
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="TEMPLATE", help="Where a domain's data lie, for instance 's3://bucket/{domain}'."
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Tokens of a proxy; default: proxies.training.tokens.")
    ] = None,
    documents: Annotated[
        bool | None,
        typer.Option(
            "--documents/--packed",
            help="Whether samples are whole documents or pieces of equal length, where a format counts samples.",
        ),
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    corpora: Annotated[
        Path | None, typer.Option("--corpora", help="Folder of downloaded corpora; default beside the home.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the data and the mixtures up to date, train nothing, and write every mixture of the current design.

    Each is a file that a trainer reads, with the sampling plan of every file beside it. mixtures.csv holds them all, as
    `regmix import-runs` reads them.
    """
    from regmix_pipeline.assets.runner import run_stale
    from regmix_pipeline.stages import DATA

    workspace = open_workspace(study, home, corpora)
    begin(workspace)
    run_stale(workspace, DATA, command="regmix mixtures")
    workspace = workspace.opened_again()
    written = write_design(workspace, form, out, template=data, tokens=tokens, documents=documents)
    content = {
        "study": workspace.study.name,
        "format": form,
        "mixtures": written.rows,
        "files": [str(path) for path in written.files],
        "of_later_rounds": written.later,
    }
    answer(content, lambda console: _show(written, out, console), as_json)


def _show(written: Designed, out: Path, console: Console) -> None:
    rows = [
        (
            row["mixture"],
            row["origin"] if row["round"] is None else f"round {row['round']}",
            amount(row["tokens"]),
            str(len(row["seeds"])),
            "" if row["highest_epochs"] is None else f"{row['highest_epochs']:.2f} of {row['highest_epochs_in']}",
            row["file"],
        )
        for row in written.rows
    ]
    show_table(console, ("mixture", "from", "tokens", "seeds", "highest epochs", "file"), rows)
    if written.later:
        console.print(f"{written.later} mixtures of later rounds are chosen once these are measured", markup=False)
    console.print(f"wrote {len(written.files)} files to {out}", markup=False, highlight=False, soft_wrap=True)
