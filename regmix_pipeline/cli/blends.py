"""`regmix audit-blend`: what a trainer's file of weights means for a run, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from regmix_pipeline.cli.app import AsJson, Data, Home, answer, app, open_workspace, plain_errors


@app.command("audit-blend")
@plain_errors
def audit_blend(
    blend: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A blend: Megatron's list, OLMo-core's or RegMix's YAML, a Python module of litgpt or torchtitan, "
            "CSV or JSON of sources and weights.",
        ),
    ],
    form: Annotated[str | None, typer.Option("--format", help="Its format; default: the first that fits.")] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", min=1, help="Tokens of the run, such as 25e9; default: the study's.")
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option("--tokens", help="CSV or JSON of sources and their tokens, documents, max_epochs."),
    ] = None,
    max_epochs: Annotated[
        float | None, typer.Option("--max-epochs", min=0, help="Epochs allowed; default: the study's, or 4.")
    ] = None,
    context: Annotated[int, typer.Option("--context", min=1, help="Tokens of a sequence of the run.")] = 4096,
    weights_of: Annotated[
        Literal["tokens", "documents"], typer.Option("--weights-of", help="What the trainer draws by the weights.")
    ] = "tokens",
    study: Annotated[
        Path | None, typer.Option("--study", help="Study with a decision: predict the blend, and check its limits.")
    ] = None,
    home: Home = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Audit a blend that somebody else made: epochs of each source, weights that go wrong, what a study predicts.

    Leaves with status 1 when anything is wrong with it.
    """
    from regmix_pipeline.blends.audit import audit_blend as audited
    from regmix_pipeline.blends.audit import show_blend_audit

    found = audited(
        blend,
        form,
        counts=tokens,
        budget=budget,
        max_epochs=max_epochs,
        context=context,
        of_documents=weights_of == "documents",
        workspace=None if study is None else open_workspace(study, home, data),
    )
    answer(found.as_json(), lambda console: show_blend_audit(found, console), as_json)
    if found.faults:
        raise typer.Exit(1)
