"""The journal: a line for everything that was put on record, each naming the line before it. Added to, never erased.

A line is on disk before the files that it speaks of. So a process that is killed may leave lines without files, all of
them in the last batch; the next writer finishes or voids these. Any other line without its file refers to a file that
was taken away, and a line that was taken away breaks the chain, or is known from the journal's head: the number of
lines and the digest of the last one, which decisions, verdicts, the ledger and Dagster's event log keep.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from regmix_pipeline.files import fsync_folder

FILE = "journal.jsonl"
RECORD, VERDICT, ASKED, VOID = "record", "verdict", "asked", "void"
"""What a line is about: a record, a verdict, mixtures that somebody asked for, earlier lines without files."""


class Head(NamedTuple):
    """How many lines a journal has, and the SHA-256 of the last one; "" for none."""

    count: int
    digest: str

    def __str__(self) -> str:
        return f"{self.count}:{self.digest}"

    @classmethod
    def of(cls, text: str) -> Head:
        """The head that `str` wrote down. Raises ValueError where it is not one."""
        count, digest = text.split(":")
        return cls(int(count), digest)


class Line(NamedTuple):
    """A line of the journal.

    Attributes:
        number: its place, from 1.
        what: `RECORD`, `VERDICT`, `ASKED` or `VOID`.
        says: its fields.
        digest: SHA-256 of its text.
    """

    number: int
    what: str
    says: Mapping[str, Any]
    digest: str


class Journal:
    """The journal of a home's records.

    Args:
        path: its file.
        finish: given the last batch's lines, finishes what a killed process left and returns the numbers of lines whose
            files were never written. Called before more is noted.

    Attributes:
        known_elsewhere: returns the number of lines that somebody else is known to have seen with their files; these
            are never voided.
    """

    def __init__(self, path: Path, finish: Callable[[list[Line]], list[int]]) -> None:
        self.path, self._finish = path, finish
        self.known_elsewhere: Callable[[], int] = lambda: 0
        self._read: tuple[tuple[int, int, int], _State] | None = None
        self._tended = -1
        """How many lines there were when nothing of the last batch was left to finish."""

    @property
    def lines(self) -> list[Line]:
        """All lines, in order; a last one that was cut short by a kill does not count."""
        return self._state().lines

    @property
    def problems(self) -> list[str]:
        """Where the chain of lines is broken, in words."""
        return self._state().problems

    @property
    def head(self) -> Head:
        """The head as it is now."""
        lines = self.lines
        return Head(len(lines), lines[-1].digest if lines else "")

    def last_record(self, asset: str, key: str) -> str | None:
        """Digest of the record that was noted last for a key; voided lines left out."""
        return self._state().last.get((asset, key))

    @property
    def digests(self) -> set[str]:
        """Digests of all records that were ever noted."""
        return self._state().digests

    @property
    def voided(self) -> dict[int, int]:
        """Number of a line that was voided -> number of the line that voids it, which follows its batch directly."""
        return self._state().voided

    def unfinished(self, number: int) -> bool:
        """Whether a line may be one whose files a kill prevented: of the last batch, and seen by nobody else."""
        lines = self.lines
        return bool(lines) and number >= max(lines[-1].says.get("batch", 0), self.known_elsewhere() + 1)

    @contextmanager
    def noted(self, *entries: Mapping[str, Any]) -> Iterator[None]:
        """Add lines of one batch, and keep others from adding any until what they speak of is written.

        Args:
            entries: fields of each line, ``what`` among them.
        """
        with self._locked():
            self._tend()
            self._add(entries)
            yield
            self._tended = len(self.lines)

    def tend(self) -> None:
        """Finish or void what a killed process left."""
        if self.path.is_file() and self._tended != len(self.lines):
            with self._locked():
                self._tend()

    def _locked(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(f".{FILE}.lock"))

    def _tend(self) -> None:
        lines = self.lines
        if self._tended == len(lines):
            return
        if lines:
            batch = lines[-1].says.get("batch", lines[-1].number)
            known = self.known_elsewhere()
            unwritten = self._finish([line for line in lines if line.number >= batch])
            unwritten = [number for number in unwritten if number > known]
            if unwritten:
                self._add([{"what": VOID, "lines": unwritten}])
        self._tended = len(self.lines)

    def _add(self, entries: Iterable[Mapping[str, Any]]) -> None:
        state, (count, digest) = self._state(), self.head
        text, added, batch = "", [], count + 1
        for number, entry in enumerate(entries, batch):
            says = {"number": number, **entry, "batch": batch, "before": digest}
            line = json.dumps(says, ensure_ascii=False, allow_nan=False, default=str)
            digest = _digest(line)
            text += line + "\n"
            added.append(Line(number, says["what"], says, digest))
        new = not self.path.exists()
        with open(self.path, "a+b") as file:
            _drop_unfinished_line(file)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
        if new:
            fsync_folder(self.path.parent)
        for line in added:
            state.add(line)
        self._read = _which(status), state

    def _state(self) -> _State:
        try:
            which = _which(os.stat(self.path))
        except FileNotFoundError:
            return _State()
        if self._read is None or self._read[0] != which:
            self._read = which, _parsed(self.path.read_bytes())
        return self._read[1]


@dataclass
class _State:
    """What a journal says, as far as it was read; see `Journal`."""

    lines: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    last: dict[tuple[str, str], str] = field(default_factory=dict)
    voided: dict[int, int] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)

    def add(self, line: Line) -> None:
        if line.what == RECORD:
            self.last[line.says.get("asset", ""), line.says.get("key", "")] = line.says.get("digest", "")
            self.digests.add(line.says.get("digest", ""))
        elif line.what == VOID and self.lines:
            batch = self.lines[-1].says.get("batch", line.number)
            numbers = {number for number in line.says.get("lines", ()) if batch <= number < line.number}
            self.voided |= dict.fromkeys(numbers, line.number)
            self.last = {}
            for before in self.lines:
                if before.what == RECORD and before.number not in self.voided:
                    self.last[before.says.get("asset", ""), before.says.get("key", "")] = before.says.get("digest", "")
        self.lines.append(line)


def _parsed(content: bytes) -> _State:
    state, digest = _State(), ""
    for number, text in enumerate(content.split(b"\n")[:-1], 1):
        try:
            says = json.loads(text)
            line = Line(says["number"], says["what"], says, hashlib.sha256(text).hexdigest())
        except (ValueError, KeyError, TypeError):
            says, line = {}, Line(number, "", {}, hashlib.sha256(text).hexdigest())
            state.problems.append(f"line {number} cannot be read")
        if says and (line.number != number or says.get("before") != digest):
            said = "does not follow the one before it: lines were taken out, added or changed"
            state.problems.append(f"line {number} {said}")
        state.add(line)
        digest = line.digest
    return state


def _drop_unfinished_line(file: Any) -> None:
    """Cut off a last line that a kill cut short: nothing was written that it speaks of."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    file.truncate(end)
    file.seek(end)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _which(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size
