"""`regmix ui`: the study in the Dagster UI, whose processes end with the command."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

import regmix_pipeline
from regmix_pipeline.cli.app import Data, Home, StudyFile, app, open_workspace, plain_errors
from regmix_pipeline.engine.home_lock import Process
from regmix_pipeline.errors import BusyError, RegmixError, StudyError
from regmix_pipeline.processes import how_it_ended
from regmix_pipeline.session import run_session
from regmix_pipeline.study_check.check import begin

LONGEST_TEMPORARY = 60
"""Characters of a temporary folder in which Dagster's sockets still have room; the system allows them 107."""


@app.command()
@plain_errors
def ui(
    study: StudyFile = None,
    home: Home = None,
    data: Data = None,
    port: int = 3000,
    host: str = "127.0.0.1",
    automation: Annotated[
        bool,
        typer.Option(
            "--automation/--no-automation", help="Whether sensors and schedule start running; see Automation."
        ),
    ] = True,
) -> None:
    """Open the study in the Dagster UI: the graph, every run, every partition."""
    from regmix_pipeline.resources.instance import opened_instance, prepare_instance
    from regmix_pipeline.resources.run_locks import end_dead_runs

    workspace = open_workspace(study, home, data)
    try:
        begin(workspace)
    except RegmixError as error:
        workspace.say(f"note: the study cannot run yet: {error}")
    folder = prepare_instance(workspace.home)
    note, lock = folder / ".ui.json", FileLock(folder / ".ui.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"the study is open in the UI already: {Process.read(note) or 'in another process'}",
            where=str(workspace.home),
            remedy="use that one, or end it first: two of them would start every automatic run twice",
        ) from None
    _check_port(host, port)
    Process.this(f"http://{host}:{port}").write(note)
    with (
        opened_instance(workspace.home) as instance,
        tempfile.TemporaryDirectory(prefix="regmix-", dir=_temporary()) as temporary,
    ):
        end_dead_runs(instance, workspace.say)
        workspace.say(f"http://{host}:{port}")
        environment = os.environ | {
            "REGMIX_STUDY": str(workspace.study_file),
            "REGMIX_HOME": str(workspace.home),
            "REGMIX_DATA": str(workspace.data),
            "TMPDIR": temporary,
            "REGMIX_AUTOMATION": "on" if automation else "off",
        }
        try:
            status = run_session(_command(host, port), environment)
        finally:
            end_dead_runs(instance, workspace.say)
            note.unlink(missing_ok=True)
    if status:
        raise RegmixError(
            f"the Dagster UI {how_it_ended(status)}",
            where=f"{host}:{port}",
            remedy="see its log above; start it again",
        )


def _command(host: str, port: int) -> list[str]:
    # Beside the package in a checkout; what is installed from a wheel has none.
    workspace = Path(regmix_pipeline.__file__).resolve().parents[1] / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.is_file() else ["-m", "regmix_pipeline.definitions"]
    return [sys.executable, "-m", "dagster", "dev", *location, "-h", host, "-p", str(port)]


def _check_port(host: str, port: int) -> None:
    """Raise StudyError unless the UI can listen there."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise StudyError(
            f"cannot listen there: {error.strerror or error}",
            where=f"{host}:{port}",
            remedy=f"end the program that does, or take another port: --port {port + 1}",
        ) from None


def _temporary() -> str | None:
    """Folder for temporary files, where the usual one's path leaves no room for sockets."""
    return None if len(tempfile.gettempdir()) <= LONGEST_TEMPORARY else "/tmp"
