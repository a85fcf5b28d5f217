"""DuckDB files under paths that DuckDB cannot spell.

DuckDB takes a question mark for the end of a path when it names its log, and a backslash for a slash. It resolves
links as well, so that a link of a plain name does not help: only a copy in another folder does.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def to_write(file: Path) -> Iterator[Path]:
    """Yield the path to open a DuckDB file by; on success what was written is in ``file``."""
    with to_read(file) as plain:
        yield plain
        if plain != file:
            shutil.copyfile(plain, file)


@contextmanager
def to_read(file: Path) -> Iterator[Path]:
    """Yield the path to open a DuckDB file by: its own, or that of a copy that is deleted afterwards."""
    if _is_plain(file.resolve()):
        yield file
    else:
        with plain_folder() as folder:
            yield Path(shutil.copyfile(file, folder / "ledger.duckdb"))


@contextmanager
def plain_folder() -> Iterator[Path]:
    """A temporary folder whose path DuckDB can spell."""
    usual = Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="regmix-", dir=usual if _is_plain(usual.resolve()) else "/tmp") as folder:
        yield Path(folder)


def _is_plain(path: Path) -> bool:
    return not set(str(path)) & set("?\\")
