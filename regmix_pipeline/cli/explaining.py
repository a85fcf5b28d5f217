"""Commands that say why: explain one weight, diff two decisions."""

from __future__ import annotations

from typing import Annotated

import typer

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, answer, app, open_workspace, plain_errors


@app.command()
@plain_errors
def explain(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain whose weight is asked about.")],
    decision: Annotated[
        str | None, typer.Option("--decision", help="Its id, the start of one, or previous; default: the current one.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", min=0, help="What if the large run might see the domain so often?")
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Why does this domain have this weight? From the evidence of that decision, however long ago it was taken."""
    from regmix_pipeline.decisions.explain.explanation import explanation_of
    from regmix_pipeline.decisions.explain.show import show_explanation

    workspace = open_workspace(study, home, data)
    found = explanation_of(workspace, domain, decision, epochs)
    answer(found, lambda console: show_explanation(found, console), as_json)


@app.command()
@plain_errors
def diff(
    first: Annotated[
        str, typer.Argument(metavar="[A]", help="The earlier decision: its id, the start of one, or previous.")
    ] = "previous",
    second: Annotated[
        str, typer.Argument(metavar="[B]", help="The later decision: its id, the start of one, or current.")
    ] = "current",
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Repeat the decisions' own search even where the optimiser would do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What changed between two decisions, and which cause moved which weight."""
    from regmix_pipeline.decisions.diff.difference import difference_of
    from regmix_pipeline.decisions.diff.show import show_difference

    workspace = open_workspace(study, home, data)
    found = difference_of(workspace, first, second, exact=exact)
    answer(found, lambda console: show_difference(found, console), as_json)
