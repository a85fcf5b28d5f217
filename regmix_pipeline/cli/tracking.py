"""`regmix track`: send finished proxies to experiment trackers."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, answer, app, open_workspace, plain_errors
from regmix_pipeline.errors import ProxyError


@app.command()
@plain_errors
def track(
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="tensorboard, wandb, mlflow or package.module:Class; default: those of the study."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Send what was sent before too.")] = False,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Send the finished proxies of today's mixtures to experiment trackers, each once."""
    from regmix_pipeline.proxies.tracked import Sender, finished_folders

    workspace = open_workspace(study, home, data)
    sender = Sender(workspace, to or (), again=again)
    if not sender.trackers:
        remedy = "name one: --to tensorboard, or tracking: {to: [tensorboard]} in the study file"
        raise ProxyError("the study has no tracker", where="tracking.to", remedy=remedy)
    folders = finished_folders(workspace)
    problems = [problem for folder in folders for problem in sender.send(folder).values()]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        remedy = "see that the tracker can be reached, and run it again: what was taken is not sent twice"
        raise ProxyError(f"{problems[0]}{more}", where="regmix track", remedy=remedy)

    def show(console: Console) -> None:
        console.print(f"{len(folders)} proxies are with {', '.join(sender.trackers)}", markup=False, highlight=False)

    answer({"proxies": [folder.name for folder in folders], "trackers": list(sender.trackers)}, show, as_json)
