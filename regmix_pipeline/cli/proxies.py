"""The command that writes a proxy for Hugging Face's transformers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Home, StudyFile, answer, app, open_workspace, plain_errors


@app.command("export-proxy")
@plain_errors
def export_proxy(
    mixture: Annotated[
        str, typer.Argument(help="natural, uniform or chosen; or the id of a mixture or proxy, or its start.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to write, new or empty; default: one of the proxy's id in this folder."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which of the mixture's seeds, from 0.")] = 0,
    larger: Annotated[
        bool, typer.Option("--larger", help="The confirmation's model on natural, uniform or chosen.")
    ] = False,
    study: StudyFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained proxy as a Llama checkpoint that Hugging Face's transformers loads, with its tokenizer."""
    from regmix_pipeline.exports.proxy import export_proxy as export

    written = export(open_workspace(study, home), mixture, out, seed, larger=larger)

    def show(console: Console) -> None:
        heaviest = sorted(written.weights.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{weight:.1%} {domain}" for domain, weight in heaviest[:4])
        more = f" and {len(heaviest) - 4} more" if len(heaviest) > 4 else ""
        said = f"{written.proxy}: seed {written.seed}, {written.tokens:,} tokens of {shares}{more}"
        console.print(said, markup=False, highlight=False)
        console.print(f"wrote {written.folder}", markup=False, highlight=False, soft_wrap=True)

    answer(asdict(written), show, as_json)
