"""A proxy's steps on disk while it trains, for whoever watches it; the finished proxy's files have them all.

The file `.<proxy id>.steps.jsonl` lies beside the proxy's folder: a row of JSON an optimiser step or a target's loss,
as in `trajectory.parquet`; a step where the speed was taken has `tokens_per_second` too. No result depends on the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


class LiveSteps:
    """Writes the file. A disk that refuses once gets no more: the training goes on without the file.

    Args:
        path: the file; one of an earlier training is replaced by the first `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._begun, self._works = path, False, True

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows; the first ones are those of a continued training from its first step on."""
        if not self._works:
            return
        text = "".join(json.dumps(row) + "\n" for row in rows)
        try:
            if self._begun:
                with self.path.open("a") as file:
                    file.write(text)
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                new = self.path.with_name(f"{self.path.name}.tmp")  # the caller holds the proxy's lock
                new.write_text(text)
                new.replace(self.path)
                self._begun = True
        except OSError:
            self._works = False


class LiveRows:
    """Reads the file as it grows.

    Attributes:
        rows: all rows that were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._inode, self._place = 0, 0

    def read_on(self) -> bool:
        """Read what is new; returns whether there was any. A file that replaced the one before is read from its
        start."""
        try:
            with self.path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._place, self.rows = inode, 0, []
                file.seek(self._place)
                new = file.read()
        except OSError:  # not begun, or finished
            return False
        whole = new[: new.rfind(b"\n") + 1]  # the last line may be half written
        self._place += len(whole)
        self.rows.extend(json.loads(line) for line in whole.splitlines())
        return bool(whole)
