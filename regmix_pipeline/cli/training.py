"""`regmix train`: a slice of the proxies, as a task of an array job on Slurm or Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from regmix_pipeline.addresses import without_credentials
from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, Workers, answer, app, open_workspace, plain_errors
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.progress import Progress, at_work, to_stderr
from regmix_pipeline.stopping import stoppable


@app.command()
@plain_errors
@stoppable
def train(
    slice_: Annotated[
        str, typer.Option("--slice", help="i/n: the i-th of n parts, for instance $SLURM_ARRAY_TASK_ID/64.")
    ] = "1/1",
    publish: Annotated[
        bool, typer.Option(help="Train nothing: put the shards and the list of proxies into the store.")
    ] = False,
    from_store: Annotated[
        str | None, typer.Option("--from", help="Store with a published list; neither study nor home is needed then.")
    ] = None,
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Train a slice of the study's proxies. `regmix run` takes them up afterwards, wherever they were trained.

    Without --from the home must be on a disk that all tasks share. Leaves with status 1 when a proxy failed.
    """
    from regmix_pipeline.proxies.workers import slices
    from regmix_pipeline.proxies.workers.choose import executor_here
    from regmix_pipeline.proxies.workers.local import LocalExecutor
    from regmix_pipeline.proxies.workers.store import Store
    from regmix_pipeline.study.settings.workers import EngineSettings

    number, total = slices.parsed_slice(slice_)
    if from_store is not None:
        store, engine = Store(from_store), EngineSettings().overridden()
        specs = slices.of_slice(slices.published(store), number, total)
        results = slices.train_from(store, specs, Path(engine.cache).expanduser(), LocalExecutor(workers, engine.stack))
    else:
        workspace = open_workspace(study, home, data, workers=workers)
        if publish:
            store = Store(_store_of(workspace))
            count = slices.publish(workspace, store)
            said = f"{count} proxies to train are listed in {without_credentials(store.address)}"
            answer(
                {"proxies": count, "store": without_credentials(store.address)},
                lambda console: console.print(said),
                as_json,
            )
            return
        specs = slices.of_slice(slices.specs_to_train(workspace), number, total)
        results = executor_here(workspace).run(specs)
    rows: list[dict[str, Any]] = []
    with at_work("train"):
        progress = Progress(f"slice {slice_}", len(specs), to_stderr, what="proxies trained")
        for result in results:
            rows.append(
                {
                    "proxy": result.task.id,
                    "reused": result.reused,
                    "seconds": round(result.seconds, 1),
                    "error": str(result.error) if result.error else None,
                }
            )
            progress.advance(note="failed" if result.error else "")
    failed = [row for row in rows if row["error"]]

    def show(console: Console) -> None:
        reused = sum(row["reused"] for row in rows)
        console.print(f"{len(rows) - len(failed) - reused} proxies trained, {reused} were there, {len(failed)} failed")
        for row in failed:
            console.print(row["error"], style="bold red", markup=False)

    answer({"slice": slice_, "proxies": rows}, show, as_json)
    if failed:
        raise typer.Exit(1)


def _store_of(workspace: Workspace) -> str:
    from regmix_pipeline.errors import StudyError

    store = workspace.study.proxies.engine.overridden().store
    if store is None:
        raise StudyError("there is no store", where="proxies.engine.store", remedy="name one, or set REGMIX_STORE")
    return store
