"""The last resort: an exception that nobody foresaw becomes one readable line, and its traceback a file."""

from __future__ import annotations

import errno
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

FAULT = 70
"""Exit status of a fault of the program itself, as in sysexits.h."""
REMEDIES = {
    errno.ENOSPC: "free some space and run again: finished work is kept",
    errno.EDQUOT: "free some of the quota and run again: finished work is kept",
    errno.EACCES: "give yourself the permission, or choose another folder",
    errno.EPERM: "give yourself the permission, or choose another folder",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.ENOTDIR: "a file stands where a folder should be: move it away",
    errno.EISDIR: "a folder stands where a file should be: move it away",
    errno.EEXIST: "a file stands where a folder should be: move it away",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "remove the link that leads to itself",
}
"""What the operating system refuses -> what a person can do about it; anything else is a fault of the program."""


def unexpected(error: Exception) -> tuple[int, str]:
    """Exit status, and what to say of an exception that is not a `RegmixError`.

    Raises:
        OSError: the reader of a pipe has gone, which is not an error.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, OSError) and error.errno in REMEDIES:
        place = f"{error.filename}: " if error.filename else ""
        return 1, f"{place}{error.strerror}\n  remedy: {REMEDIES[error.errno]}"
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
