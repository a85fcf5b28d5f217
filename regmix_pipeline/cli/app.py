"""What every `regmix` command shares: the application, its options, readable errors, and answers as tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from regmix_pipeline import __version__
from regmix_pipeline.cli.unexpected import unexpected
from regmix_pipeline.engine.home import other_file
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegmixError, full_disk
from regmix_pipeline.progress import to_stderr
from regmix_pipeline.stopping import Interrupted, interruptible
from regmix_pipeline.study.file import default_study_file

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"regmix {__version__}")
        raise typer.Exit


@app.callback()
def regmix(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Choose a pre-training data mixture by RegMix, and audit why it was chosen."""


StudyFile = Annotated[Path | None, typer.Option("--study", help="Study file; default $REGMIX_STUDY or the demo.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of artefacts; default $REGMIX_HOME or .regmix/<study> by the study file."),
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of corpora; default $REGMIX_DATA or beside home.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes that train at once.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Answer with one JSON value on standard output, and nothing else.")
]


def open_workspace(
    study: Path | None,
    home: Path | None,
    data: Path | None = None,
    *,
    workers: int | None = None,
    changes: Sequence[str] = (),
    quiet: bool = False,
) -> Workspace:
    """The study that a command is about; unless ``quiet``, says on standard error which home is used and if it is new.

    Raises:
        StudyError: the study file is wrong, or the home found for it is another file's.
    """
    workspace = Workspace(study or default_study_file(), home, data, workers=workers, changes=changes)
    new = "" if (workspace.home / "records").is_dir() else ", which is new"
    if not quiet:
        to_stderr(f"study {workspace.study.name} · home {workspace.home}{new}")
    if other := other_file(workspace.home, workspace.study_file):
        to_stderr(f"note: this home was made for another study file, {other}; the two share it")
    return workspace


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """End with one readable message: status 1 after an error, 128 + the signal's number after a signal."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        _print_what_can_be_printed()
        try:
            with interruptible():
                command(*args, **kwargs)
        except Interrupted as stop:
            _say("interrupted")
            raise typer.Exit(stop.status) from None
        except RegmixError as error:
            _fail(error)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            disk = full_disk(error)
            status, text = (1, str(disk)) if disk else unexpected(error)
            _say(f"error: {text}")
            raise typer.Exit(status) from None

    return guarded


def _print_what_can_be_printed() -> None:
    """In a locale without Unicode, characters that it lacks are written as their escapes, and stop nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(error: RegmixError) -> NoReturn:
    _say(f"error: {error}")
    raise typer.Exit(1) from None


def _say(line: str) -> None:
    Console(stderr=True).print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def answer(value: Any, show: Callable[[Console], None], as_json: bool) -> None:
    """Print ``value`` as JSON when asked to, or let ``show`` print it for a reader."""
    if as_json:
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        json.dump(value, sys.stdout, indent=2, ensure_ascii=not unicode, allow_nan=False, default=str)
        sys.stdout.write("\n")
    else:
        show(Console())
