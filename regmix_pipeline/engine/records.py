"""Records: what each asset holds now, from which inputs it was made, and what it held before.

A record is one small JSON file per asset, key and version. It is written after the artefacts it names, so a record that
exists speaks of whole files. `current/` points to the version that holds now; older ones stay for the audit, each under
a name of its own. A line of the journal has the SHA-256 of every record, so that none is changed or replaced unnoticed.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from regmix_pipeline.engine.journal import FILE, RECORD, Journal, Line
from regmix_pipeline.errors import DamagedError, LedgerError
from regmix_pipeline.files import (
    ID_LENGTH,
    fingerprint,
    json_by_lines,
    link_together,
    read_json,
    sha256_of,
    sha256_of_bytes,
    write_together,
)

UNPARTITIONED = "all"
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
        key: partition key, or `UNPARTITIONED`.
        version: the data version; equal versions mean equal content.
        recipe: the recipe's id.
        inputs: ``asset/key`` -> version.
        settings: see `Recipe`.
        facts: numbers and names worth showing, JSON-able.
        files: paths of the artefacts, relative to the workspace's home.
        made_at: UTC time, ISO 8601.
        seconds: time it took to make.
        run: who made it: the id of the Dagster run, or "".
        sums: file, relative to the workspace's home -> SHA-256 when it was recorded: artefacts and parts of ledger
            tables.
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

    @cached_property
    def content(self) -> bytes:
        """The bytes of its file."""
        return json_by_lines({each.name: getattr(self, each.name) for each in fields(self)}).encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its file."""
        return sha256_of_bytes(self.content)


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("asset", "key", "version", "recipe", "made_at", "run"), str),
    **dict.fromkeys(("inputs", "settings", "facts", "sums"), dict),
    "files": list,
    "seconds": (int, float),
}
"""Field of a record -> what JSON has there."""
_REMEDY = "`regmix run` makes a current record again; restore an earlier one from a copy, or delete it"
_Which = tuple[int, int, int]
"""Which file was read: a record is replaced by a new file, never written into."""


class Records:
    """The records under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current = str(folder / "current")
        self._damage: dict[str, DamagedError] = {}
        """Path of a current record that cannot be read -> what is wrong with it."""
        self._seen: dict[str, tuple[_Which, Record]] = {}
        """Path of a current record -> which file was read, and what it said: a stage looks many times."""
        self.journal = Journal(folder / FILE, self._finish)
        """A line for everything that was ever saved."""
        self.readers: tuple[Callable[[frozenset[str]], None], ...] = ()
        """Called before records are read, with the names of the assets that may own them; see `Stage.view`."""

    def read_by(self, reader: Callable[[frozenset[str]], None]) -> Self:
        """The same records, with one more reader, which may refuse to read by raising."""
        records = copy.copy(self)
        records.readers = (*self.readers, reader)
        return records

    @property
    def for_lineage(self) -> Self:
        """The same records without readers, for those who follow from which versions something was made. They read no
        content, only names; what they start from counts as read where they find it."""
        records = copy.copy(self)
        records.readers = ()
        return records

    def note_read(self, *assets: str) -> None:
        """Tell the readers that something is read which belongs to one of ``assets``."""
        for reader in self.readers:
            reader(frozenset(assets))

    def current(self, asset: str, key: str = UNPARTITIONED) -> Record | None:
        """The version that holds now, or None if the asset was never made or its record is damaged; see `damage`."""
        self.note_read(asset)
        path = f"{self._current}/{asset}/{key}.json"
        self._damage.pop(path, None)
        try:
            which = _which(os.stat(path))
            if path not in self._seen or self._seen[path][0] != which:
                self._seen[path] = which, _read(Path(path))
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._damage[path] = error
            return None
        return self._seen[path][1]

    def damage(self, asset: str, key: str = UNPARTITIONED) -> DamagedError | None:
        """What is wrong with the current record, if it cannot be read."""
        self.current(asset, key)
        return self._damage.get(f"{self._current}/{asset}/{key}.json")

    def damaged(self) -> list[DamagedError]:
        """What is wrong with every record that cannot be read, current or earlier; both names of a file are given."""
        found = []
        for path in sorted(self.folder.glob("*/*/**/[!.]*.json")):
            try:
                _read(path)
            except DamagedError as error:
                found.append(error)
        return found

    def keys(self, asset: str) -> list[str]:
        """Keys of the asset that have a current record, sorted."""
        self.note_read(asset)
        return sorted(path.stem for path in (self.folder / "current" / asset).glob("[!.]*.json"))

    def save(self, *records: Record) -> None:
        """Keep records forever and make them the current ones; those saved together are flushed together."""
        current = {self._now(record.asset, record.key): record for record in records}
        with self.journal.noted(*(_line(record) for record in current.values())):
            # Begun where all others are: a disk makes a file in a folder of its own at several times the price.
            write_together(
                {path: record.content for path, record in current.items()},
                first={path: self.kept(record) for path, record in current.items()},
            )
        for record in records:
            self._refused(record).unlink(missing_ok=True)

    def refuse(self, *records: Record) -> None:
        """Note that a check refused these versions as they were made: none comes back unless it is remade."""
        write_together({self._refused(record): b"" for record in records})

    def made_from(self, asset: str, key: str, recipe: str) -> list[Record]:
        """Every record of a recipe that is as it was saved and that no check refused, the earliest first."""
        self.note_read(asset)
        folder = self.folder / "history" / asset / key
        found = [_read_if_intact(path) for path in folder.glob(f"[!.]*-{recipe}-*.json")]
        kept = [each for each in found if each and self.is_saved(each) and not self._refused(each).exists()]
        return sorted(kept, key=lambda each: each.made_at)

    def _now(self, asset: str, key: str) -> Path:
        return Path(self._current, asset, f"{key}.json")

    def kept(self, record: Record | Mapping[str, str]) -> Path:
        """Where a record, or the one that a line of the journal describes, is kept permanently: a name for each
        content."""
        asset, key, version, recipe, digest = (
            getattr(record, name) if isinstance(record, Record) else record.get(name, "")
            for name in ("asset", "key", "version", "recipe", "digest")
        )
        return self.folder / "history" / asset / key / f"{version}-{recipe}-{digest[:ID_LENGTH]}.json"

    def _finish(self, lines: list[Line]) -> list[int]:
        """Put records in place that a kill kept from it; numbers of lines whose records were not written at all."""
        missing, behind = [], {}
        for line in lines:
            if line.what != RECORD:
                continue
            kept, now_held = self.kept(line.says), self._now(line.says["asset"], line.says["key"])
            if not kept.is_file():
                missing.append(line.number)
            # One that is no longer listed was withdrawn, and stays so.
            elif now_held.is_file() and sha256_of(now_held) != line.says["digest"] == sha256_of(kept):
                behind[now_held] = kept
        link_together(behind)
        return missing

    def need_unaltered(self, record: Record) -> Record:
        """The record, if it is the one that was saved last for its key.

        Raises:
            LedgerError: it was edited, or an older one was put in its place.
        """
        if self.journal.last_record(record.asset, record.key) != record.digest:
            raise LedgerError(
                "this record is not the one that was saved last: it was edited or replaced",
                where=str(self._now(record.asset, record.key)),
                remedy="restore it from a backup, or delete it: `regmix run` then makes again what it describes",
            )
        return record

    def _refused(self, record: Record) -> Path:
        return self.folder / "refused" / record.asset / record.key / f"{record.version}-{record.recipe}"

    def fingerprint(self) -> str:
        """Fingerprint of what is current: a ledger that carries another one was built before the last record."""
        held = [
            (asset.name, path.stem, record.version, record.digest)
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

    def history(self, asset: str, key: str = UNPARTITIONED, starting: str = "[!.]") -> list[Record]:
        """Every readable record of a key, the earliest first; ``starting`` is how their files' names begin."""
        self.note_read(asset)
        found = [_read_if_intact(path) for path in (self.folder / "history" / asset / key).glob(f"{starting}*.json")]
        return sorted((record for record in found if record is not None), key=lambda record: record.made_at)

    def is_saved(self, record: Record) -> bool:
        """Whether the journal has a line of exactly this record: one that was edited has none."""
        return record.digest in self.journal.digests

    def sums_on_record(self, assets: Iterable[str]) -> dict[str, set[str]]:
        """File, relative to the home -> checksums that records of some assets have ever named for it; records that the
        journal does not know do not count. Not a read of these assets: a checksum says that a file is as it was."""
        found: dict[str, set[str]] = defaultdict(set)
        for asset in assets:
            for path in (self.folder / "history" / asset).glob("*/[!.]*.json"):
                record = _read_if_intact(path)
                for name, total in record.sums.items() if record and self.is_saved(record) else ():
                    found[name].add(total)
        return dict(found)

    def latest(self, asset: str, key: str = UNPARTITIONED) -> Record | None:
        """The record saved last, current or withdrawn since; None if the asset was never made."""
        return self.current(asset, key) or next(reversed(self.history(asset, key)), None)

    def all(self) -> Iterator[tuple[Record, bool]]:
        """Every record ever kept that can be read, and whether it is the current one."""
        for path in sorted((self.folder / "history").glob("*/*/[!.]*.json")):
            current = self.current(path.parent.parent.name, path.parent.name)
            record = self._as_seen(path) or _read_if_intact(path)
            if record is not None:
                yield record, current is not None and current.digest == record.digest

    def _as_seen(self, kept: Path) -> Record | None:
        """What a kept record states, if it is the very file that was read as the current one."""
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


def _line(record: Record) -> dict[str, str]:
    """What the journal holds of a record."""
    names = ("asset", "key", "version", "recipe", "digest")
    return {"what": RECORD} | {name: getattr(record, name) for name in names} | {"at": record.made_at}


def _read(path: Path) -> Record:
    """A record.

    Raises:
        DamagedError: the file does not hold a record of its asset and key.
    """
    raw = read_json(path, _REMEDY)
    fields_of: dict[str, Any] = raw if isinstance(raw, dict) else {}
    kinds = {name: fields_of.get(name) for name in _KINDS if not isinstance(fields_of.get(name), _KINDS[name])}
    if kinds or fields_of.keys() != {each.name for each in fields(Record)}:
        odd = sorted(kinds or fields_of.keys() ^ {each.name for each in fields(Record)})
        raise DamagedError(f"is damaged: not a record ({', '.join(odd[:4])})", where=str(path), remedy=_REMEDY)
    values: dict[str, Any] = fields_of | {"files": tuple(fields_of["files"])}
    return Record(**values)


def _read_if_intact(path: Path) -> Record | None:
    """A record, or None if its file is damaged."""
    try:
        return _read(path)
    except DamagedError:
        return None
