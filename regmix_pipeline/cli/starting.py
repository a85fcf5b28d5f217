"""The command that starts a study: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, answer, app, plain_errors
from regmix_pipeline.tables import Cell, show_table


@app.command()
@plain_errors
def init(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Data: a sub-folder or a file per domain; also an address such as hf://datasets/owner/name.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Study file to write; never overwritten.")] = Path("study.yaml"),
    target: Annotated[
        str | None, typer.Option("--target", help="The domain to do well on; default: all of them alike.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, help="Tokens of the large run; default: as many as there are.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented study file for a folder of data, with settings that fit its size."""
    from regmix_pipeline.study_init.proposal import as_json as proposal_as_json
    from regmix_pipeline.study_init.write import init_study

    proposal = init_study(folder, out, target, tokens)

    def show(console: Console) -> None:
        rows: list[list[Cell]] = []
        for domain in proposal.domains:
            sample = domain.sample
            cells = [
                domain.name,
                f"{len(sample.domain.files):,}",
                sample.text_field,
                f"{sample.documents:,}",
                f"{sample.text_bytes / 1e6:,.1f}",
                f"{domain.tokens / 1e6:,.2f}",
                f"{domain.bytes_per_token:.2f}",
            ]
            rows.append([cell if domain.usable else (cell, "dim") for cell in cells])
        headings = ("domain", "files", "text field", "documents", "MB", "M tokens", "bytes a token")
        title = f"{out}: {len(proposal.usable)} domains (sizes are estimates)"
        show_table(console, headings, rows, title=title, left=["text field"])
        for warning in proposal.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
        console.print(f"Next: read {out}, then regmix plan --study {out}", markup=False, highlight=False)

    answer({"study": str(out), **proposal_as_json(proposal)}, show, as_json)
