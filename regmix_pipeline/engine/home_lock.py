"""One run at a time works in a home: its lock, the note of who holds it, and what those who wait for it say."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from regmix_pipeline.errors import BusyError
from regmix_pipeline.progress import Say, clock

LOCK, HOLDER = ".lock", ".lock.holder.json"
SPEAK_EVERY = 30.0
"""Seconds between two lines of somebody who waits."""


@dataclass(frozen=True)
class Process:
    """A process, as a note beside a lock that it holds says.

    Attributes:
        command: what it does, in words.
        pid: its id, on its machine.
        host: the machine's name.
        machine: the machine's own id, or "".
        boot: id of the machine's start: two processes with the same one see each other's locks.
        since: UTC time at which it took the lock, ISO 8601.
    """

    command: str
    pid: int
    host: str
    machine: str
    boot: str
    since: str

    @classmethod
    def this(cls, command: str = "") -> Process:
        """This process, now."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        boot, machine = _first_line("/proc/sys/kernel/random/boot_id"), _first_line("/etc/machine-id")
        return cls(command or command_at_work(), os.getpid(), socket.gethostname(), machine, boot, since)

    @classmethod
    def read(cls, note: Path) -> Process | None:
        """What a note says; None if there is none, or it was cut short."""
        try:
            return cls(**json.loads(note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, note: Path) -> None:
        """Write the note. It only serves messages and a full disk must not stop a run for it, so nothing is raised."""
        with contextlib.suppress(OSError):
            note.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @property
    def is_of_this_boot(self) -> bool:
        """Whether it runs, or ran, under this very kernel: then its locks say whether it lives."""
        return bool(self.boot) and self.boot == _first_line("/proc/sys/kernel/random/boot_id")

    @property
    def was_before_a_restart(self) -> bool:
        """Whether it ran on this machine before the machine was last started."""
        here = Process.this("-")
        named = (self.host, self.machine) == (here.host, here.machine)
        return named and bool(self.machine) and bool(self.boot) and self.boot != here.boot

    def __str__(self) -> str:
        place = "" if self.is_of_this_boot else f" on {self.host}"
        return f"{self.command} (process {self.pid}{place}, since {self.since})"


def command_at_work() -> str:
    """What this process was started as: ``regmix run``, or a process of the Dagster UI."""
    name = Path(sys.argv[0]).name
    if name in ("regmix", "__main__.py") and len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        return f"regmix {sys.argv[1]}"
    return "a process of the Dagster UI" if "dagster" in " ".join(sys.argv) else name or "Python"


@contextmanager
def home_lock(home: Path, say: Say, *, wait: bool = True, run: str = "") -> Iterator[None]:
    """Hold a home's lock. The system takes it away from a process that dies.

    Args:
        home: the home.
        say: called with whom it waits for, and for how long it has waited.
        wait: whether to wait for another process.
        run: id of the Dagster run at work, for those who wait.

    Raises:
        BusyError: another process is running, and nobody waits for it.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(home / LOCK, thread_local=False), home / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = Process.read(note)
        who = str(holder) if holder else "another process"
        if not wait:
            raise BusyError(f"{who} is running", where=str(home), remedy="wait for it") from None
        _wait(lock, note, home, say)
    Process.this(f"{command_at_work()}, Dagster run {run[:8]}" if run else "").write(note)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _wait(lock: FileLock, note: Path, home: Path, say: Say) -> None:
    started, waited = time.monotonic(), ""
    while True:
        say(f"waiting for {Process.read(note) or 'another process'}, which is running in {home}{waited}")
        try:
            lock.acquire(timeout=SPEAK_EVERY)
        except Timeout:
            waited = f", for {clock(time.monotonic() - started)} now"
        else:
            return


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
