"""The last resort: an exception that nobody foresaw becomes one readable line, and its traceback a file."""

from __future__ import annotations

import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from regmix_pipeline.errors import refused_by_system
from regmix_pipeline.extras import missing_extra

FAULT = 70
"""Exit status of a fault of the program itself, as in sysexits.h."""


def unexpected(error: Exception) -> tuple[int, str]:
    """Exit status, and what to say of an exception that is not a `RegmixError`.

    Raises:
        OSError: the reader of a pipe has gone, which is not an error.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    refused = refused_by_system(error) or missing_extra(error)
    if refused is not None:
        return 1, str(refused)
    path = _written(error)
    said = f"unexpected {type(error).__name__}: {error}".splitlines()[0][:300]
    where = f"details in {path}" if path else "its details could not be written"
    return FAULT, f"{said} (a fault of regmix-pipeline); {where}\n  remedy: report it with that file"


def _written(error: Exception) -> Path | None:
    """A new file with the traceback, in the folder of temporary files: the home itself may be what is broken."""
    try:
        folder = Path(tempfile.gettempdir())
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix=f"regmix-{stamp}-", suffix=".log", dir=folder, delete=False
        ) as file:
            traceback.print_exception(error, file=file)
        return Path(file.name)
    except OSError:
        return None
