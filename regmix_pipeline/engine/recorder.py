"""How what a stage makes comes on record: the parts of its tables first, then the records that speak of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.records import Recipe, Record, Records, now
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.files import sha256_of, write_together

TOGETHER = 16
"""Outputs recorded together at most: a process killed before they are reported has reported none of them."""


@dataclass(frozen=True)
class Output:
    """What a stage made, or failed to make, for one key.

    Attributes:
        key: partition key, or `UNPARTITIONED`.
        version: the data version.
        facts: numbers and names worth showing.
        files: the artefacts, absolute paths under the workspace's home.
        sums: SHA-256 of files that are known already, such as those of model weights; the others are read for it.
        seconds: time it took; None lets the workspace measure it.
        error: why it failed; then nothing is recorded.
        followed: whether the next output comes at once, so that both can be recorded together.
    """

    key: str
    version: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    seconds: float | None = None
    sums: Mapping[Path, str] = field(default_factory=dict)
    error: RegmixError | None = None
    followed: bool = False


class Recorder:
    """Holds what one stage makes until it is put on record.

    Args:
        records: the home's records.
        home: the workspace's home.
        asset: name of the stage.
        run: id of the current run.

    Attributes:
        parts: path -> bytes of the parts that go with the output being made.
    """

    def __init__(self, records: Records, home: Path, asset: str, run: str) -> None:
        self._records, self._home, self._asset, self._run = records, home, asset, run
        self._pending: list[Record] = []
        self._pending_parts: dict[Path, bytes] = {}
        self._started = time.monotonic()
        self.parts: dict[Path, bytes] = {}

    @property
    def full(self) -> bool:
        """Whether as much is held as is put on record together."""
        return len(self._pending) >= TOGETHER

    def add(self, output: Output, recipe: Recipe) -> None:
        """Take an output and its parts; parts of one that failed are dropped."""
        parts, self.parts = self.parts, {}
        if output.error is not None:
            return
        finished = time.monotonic()
        self._pending.append(self._record(output, recipe, parts, finished - self._started))
        self._pending_parts |= parts
        self._started = finished

    def flush(self) -> list[tuple[Record, Record | None]]:
        """Put on record all that is held; every new record, and the one that was current until now."""
        if not self._pending:
            return []
        before = [self._records.current(self._asset, record.key) for record in self._pending]
        write_together(self._pending_parts)
        self._records.save(*self._pending)
        made = list(zip(self._pending, before, strict=True))
        self._pending, self._pending_parts = [], {}
        return made

    def _record(self, output: Output, recipe: Recipe, parts: Mapping[Path, bytes], seconds: float) -> Record:
        summed = [path for path in output.files if path not in parts]
        return Record(
            asset=self._asset,
            key=output.key,
            version=output.version,
            recipe=recipe.id,
            inputs=dict(recipe.inputs),
            settings=dict(recipe.settings),
            facts=dict(output.facts),
            files=tuple(self._name(path) for path in output.files),
            made_at=now(),
            seconds=round(seconds if output.seconds is None else output.seconds, 3),
            run=self._run,
            sums={self._name(path): output.sums.get(path) or sha256_of(path) for path in summed}
            | {self._name(path): hashlib.sha256(content).hexdigest() for path, content in parts.items()},
        )

    def _name(self, path: Path) -> str:
        """A path under the home as records name it; thousands are asked for, so by its text."""
        text, home = str(path), f"{self._home}{os.sep}"
        return text.removeprefix(home) if text.startswith(home) else str(path.relative_to(self._home))
