"""Commands for programs that ask a decision's response surface: predict, surface, mcp."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, answer, app, open_workspace, plain_errors

Decision = Annotated[
    str | None, typer.Option("--decision", help="Its id, the start of one, or previous; default: the current one.")
]


@app.command()
@plain_errors
def predict(
    mixture: Annotated[
        list[str],
        typer.Option(
            "--mixture",
            help="web=0.6,code=0.4, a JSON object of weights, or chosen, natural, uniform, best_observed; repeatable.",
        ),
    ],
    level: Annotated[float, typer.Option("--level", help="Probability that an interval holds.")] = 0.9,
    decision: Decision = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """What would a proxy on this mixture reach? Every target's loss with an interval and a standard error."""
    from regmix_pipeline.surface.answers import evidence_of, predictions
    from regmix_pipeline.surface.show import show_predictions

    found = predictions(evidence_of(open_workspace(study, home, data), decision), mixture, level)
    answer(found, lambda console: show_predictions(found, console), as_json)


@app.command()
@plain_errors
def surface(
    decision: Decision = None, study: StudyFile = None, home: Home = None, data: Data = None, as_json: AsJson = False
) -> None:
    """The response surface of a decision: domains, targets, named mixtures; with --json a curve of each weight too."""
    from regmix_pipeline.surface.answers import evidence_of
    from regmix_pipeline.surface.answers import surface as surface_of
    from regmix_pipeline.surface.show import show_surface

    found = surface_of(evidence_of(open_workspace(study, home, data), decision))
    answer(found, lambda console: show_surface(found, console), as_json)


@app.command()
@plain_errors
def mcp(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Serve HTTP on 127.0.0.1 instead of standard input and output."),
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
) -> None:
    """Answer an agent's questions over the Model Context Protocol: predict, explain, propose, audit. Read-only."""
    from regmix_pipeline.cli.auditing import reported_heads
    from regmix_pipeline.surface.server import serve, server_of

    logging.basicConfig(level=logging.WARNING)  # standard output is the protocol's
    open_workspace(study, home, data)
    serve(server_of(lambda: open_workspace(study, home, data, quiet=True), reported_heads), port)
