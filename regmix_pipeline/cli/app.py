"""What every `regmix` command shares: the application, its options, readable errors, and answers as tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from regmix_pipeline.cli.unexpected import unexpected
from regmix_pipeline.errors import RegmixError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Choose a pre-training data mixture by RegMix, and audit why it was chosen.",
)

StudyFile = Annotated[Path | None, typer.Option("--study", help="Study file; default $REGMIX_STUDY or the demo.")]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of artefacts; default $REGMIX_HOME or .regmix/<study>.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of corpora; default $REGMIX_DATA or beside home.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes that train at once.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Answer with one JSON value on standard output, and nothing else.")
]


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Show an error the user can act on as its text, and leave with status 1."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except RegmixError as error:
            Console(stderr=True).print(
                f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True
            )
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            status, text = unexpected(error)
            Console(stderr=True).print(
                f"error: {text}", style="bold red", markup=False, highlight=False, soft_wrap=True
            )
            raise typer.Exit(status) from None

    return guarded


def answer(value: Any, show: Callable[[Console], None], as_json: bool) -> None:
    """Print ``value`` as JSON when asked to, or let ``show`` print it for a reader."""
    if as_json:
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        sys.stdout.write("\n")
    else:
        show(Console())
