"""Dagster's SQLite files: the permissions that new files have here, and an error for those that cannot be used.

SQLite makes them writable for their owner alone, whatever the umask, and its files beside them likewise. Of people who
share a home, whoever looks first would own those, and the others could write no more.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DatabaseError

from regmix_pipeline.errors import LedgerError, is_full_disk


@event.listens_for(Engine, "do_connect")
def _make_file(dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    """Make the file before SQLite does, which takes an empty one for a new database."""
    path = str(arguments[0]) if dialect.name == "sqlite" and arguments else ""
    if os.path.isabs(path) and not os.path.exists(path):
        with contextlib.suppress(OSError):  # SQLite says what it cannot open
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))


@contextmanager
def named_if_damaged(folder: Path) -> Iterator[None]:
    """Raise LedgerError where Dagster's databases in a folder are damaged, or may not be written."""
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig)
        if is_full_disk(said) or "locked" in said:
            raise
        if re.search("readonly|unable to open", said):
            problem, remedy = "may not be written", "give yourself write permission to all files in it"
        else:
            problem = "is damaged"
            remedy = "move it away: `regmix run` makes it again; only the history that the Dagster UI shows is lost"
        raise LedgerError(f"{problem}: {said}", where=str(folder), remedy=remedy) from error
