"""Temporary files and folders that killed processes left beside what they were writing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

STALE_AFTER = 3600.0
"""Seconds without any write after which a temporary file or folder is nobody's: a living writer touches its own."""


def sweep(folder: Path, stale_after: float = STALE_AFTER) -> list[Path]:
    """Delete stale ``.*.tmp*`` entries in ``folder``, return what was deleted; entries still being written stay."""
    swept = []
    for path in sorted(folder.glob(".*.tmp*")) if folder.is_dir() else []:
        if time.time() - _last_write(path) > stale_after:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            swept.append(path)
    return swept


def _last_write(path: Path) -> float:
    try:
        return max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    except FileNotFoundError:
        # Its owner has just finished: as fresh as can be.
        return time.time()
