"""Dagster's SQLite files get the permissions that new files have here.

SQLite makes them writable for their owner alone, whatever the umask, and its files beside them likewise. Of people who
share a home, whoever looks first would own those, and the others could write no more.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from sqlalchemy import Engine, event


@event.listens_for(Engine, "do_connect")
def _make_file(dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    """Make the file before SQLite does, which takes an empty one for a new database."""
    path = str(arguments[0]) if dialect.name == "sqlite" and arguments else ""
    if os.path.isabs(path) and not os.path.exists(path):
        with contextlib.suppress(OSError):  # SQLite says what it cannot open
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
