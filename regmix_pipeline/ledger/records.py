"""Records: what each asset holds now, from which inputs it was made, and what it held before.

A record is one small JSON file per asset, key and version. It is written after the artefacts it names, so a record that
exists speaks of whole files. `current/` points to the version that holds now; older ones stay for the audit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from regmix_pipeline.files import fingerprint, json_by_lines, read_json, write_together

WHOLE = "all"
"""The key of an asset that is not partitioned."""


@dataclass(frozen=True)
class Recipe:
    """What an asset, or one partition of it, should be made from.

    Attributes:
        inputs: ``asset/key`` -> version of every upstream artefact that is read.
        settings: the settings and code version that shape the result, JSON-able.
    """

    inputs: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Fingerprint of inputs and settings: equal recipes give equal results."""
        return fingerprint("recipe", dict(self.inputs), dict(self.settings))


@dataclass(frozen=True)
class Record:
    """One version of an asset, or of one partition of it.

    Attributes:
        asset: the asset's name.
        key: partition key, or `WHOLE`.
        version: the data version; equal versions mean equal content.
        recipe: the recipe's id.
        inputs: ``asset/key`` -> version.
        settings: see `Recipe`.
        facts: numbers and names worth showing, JSON-able.
        files: paths of the artefacts, relative to the lab's home.
        made_at: UTC time, ISO 8601.
        seconds: time it took to make.
        run: who made it: the id of the Dagster run, or "".
        sums: file, relative to the lab's home -> SHA-256 when it was recorded: artefacts and parts of ledger tables.
    """

    asset: str
    key: str
    version: str
    recipe: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: tuple[str, ...]
    made_at: str
    seconds: float
    run: str
    sums: Mapping[str, str] = field(default_factory=dict)


_Which = tuple[int, int, int]
"""Which file was read: a record is replaced by a new file, never written into."""


class Records:
    """The records under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current = str(folder / "current")
        self._seen: dict[str, tuple[_Which, Record]] = {}
        """Path of a current record -> which file was read, and what it said: a stage looks many times."""

    def current(self, asset: str, key: str = WHOLE) -> Record | None:
        """The version that holds now, or None if the asset was never made."""
        path = f"{self._current}/{asset}/{key}.json"
        try:
            which = _which(os.stat(path))
            if path not in self._seen or self._seen[path][0] != which:
                self._seen[path] = which, _read(Path(path))
        except FileNotFoundError:
            return None
        return self._seen[path][1]

    def keys(self, asset: str) -> list[str]:
        """Keys of the asset that have a current record, sorted."""
        return sorted(path.stem for path in (self.folder / "current" / asset).glob("[!.]*.json"))

    def save(self, *records: Record) -> None:
        """Keep records for ever and make them the current ones; those saved together are flushed together."""
        current = {Path(self._current, record.asset, f"{record.key}.json"): record for record in records}
        # Begun where all others are: a disk makes a file in a folder of its own at several times the price.
        write_together(
            {path: json_by_lines(record_values(record)).encode() for path, record in current.items()},
            first={path: self._kept(record) for path, record in current.items()},
        )
        for record in records:
            self._refused(record).unlink(missing_ok=True)

    def refuse(self, *records: Record) -> None:
        """Note that a check refused these versions as they were made: none comes back unless it is remade."""
        write_together({self._refused(record): b"" for record in records})

    def made_from(self, asset: str, key: str, recipe: str) -> list[Record]:
        """Every record of a recipe that no check refused, the earliest first."""
        folder = self.folder / "history" / asset / key
        found = [_read(path) for path in folder.glob(f"[!.]*-{recipe}.json")]
        return sorted((each for each in found if not self._refused(each).exists()), key=lambda each: each.made_at)

    def _kept(self, record: Record) -> Path:
        return self.folder / "history" / record.asset / record.key / f"{record.version}-{record.recipe}.json"

    def _refused(self, record: Record) -> Path:
        return self.folder / "refused" / record.asset / record.key / f"{record.version}-{record.recipe}"

    def fingerprint(self) -> str:
        """Fingerprint of what is current: a ledger that carries another one was built before the last record."""
        held = [
            (asset.name, path.stem, record.version, record.recipe)
            for asset in sorted((self.folder / "current").glob("[!.]*"))
            for path in sorted(asset.glob("[!.]*.json"))
            if (record := self.current(asset.name, path.stem)) is not None
        ]
        return fingerprint("current", held)

    def forget(self, asset: str, key: str) -> None:
        """Stop listing a key as current; its history stays."""
        (self.folder / "current" / asset / f"{key}.json").unlink(missing_ok=True)

    def version(self, asset: str, key: str, version: str) -> Record | None:
        """The record of a given version: the current one if it has that version, else the latest; None if there never
        was one. So what is current leads to the same records whatever was made, and undone, in between."""
        current = self.current(asset, key)
        if current is not None and current.version == version:
            return current
        found = self.of_version(asset, key, version)
        return found[-1] if found else None

    def of_version(self, asset: str, key: str, version: str) -> list[Record]:
        """Every record of a version, the earliest first: equal content may have come from several recipes."""
        return self.history(asset, key, f"{version}-")

    def history(self, asset: str, key: str = WHOLE, starting: str = "[!.]") -> list[Record]:
        """Every record ever kept of a key, the earliest first; ``starting`` is how their files' names begin."""
        found = [_read(path) for path in (self.folder / "history" / asset / key).glob(f"{starting}*.json")]
        return sorted(found, key=lambda record: record.made_at)

    def latest(self, asset: str, key: str = WHOLE) -> Record | None:
        """The record saved last, current or withdrawn since; None if the asset was never made."""
        return self.current(asset, key) or next(reversed(self.history(asset, key)), None)

    def all(self) -> Iterator[tuple[Record, bool]]:
        """Every record ever kept, and whether it is the current one."""
        for path in sorted((self.folder / "history").glob("*/*/[!.]*.json")):
            current = self.current(path.parent.parent.name, path.parent.name)
            record = self._as_seen(path) or _read(path)
            yield record, current is not None and (current.version, current.recipe) == (record.version, record.recipe)

    def _as_seen(self, kept: Path) -> Record | None:
        """What a kept record says, if it is the very file that was read as the current one."""
        seen = self._seen.get(f"{self._current}/{kept.parent.parent.name}/{kept.parent.name}.json")
        return seen[1] if seen is not None and seen[0] == _which(os.stat(kept)) else None

    def clear(self) -> None:
        """Remove everything; for tests and for a user who starts over."""
        shutil.rmtree(self.folder, ignore_errors=True)


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _which(status: os.stat_result) -> _Which:
    return status.st_ino, status.st_mtime_ns, status.st_size


def record_values(record: Record) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _read(path: Path) -> Record:
    raw = read_json(path)
    return Record(**(raw | {"files": tuple(raw["files"])}))
