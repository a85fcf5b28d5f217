"""One proxy whose command is at work, or is waited for: its lock, its log, and when it last showed a sign of life."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.proxies.commands.inputs import run_folder
from regmix_pipeline.proxies.commands.places import Order
from regmix_pipeline.proxies.integrity import REPORTED
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.settings.trainer import TrainerSettings

LOG = "log.txt"
SECONDS = "seconds.json"
REJECTED = "losses.rejected.json"
"""What becomes of a `losses.json` that does not count: to be looked at, and never read again."""
_LOOK_EVERY = 5.0
"""Seconds between two looks for changes in a command's folder."""


@dataclass
class CommandRun:
    """A proxy and its command.

    Attributes:
        number: of the task.
        spec: the proxy.
        slot: its place among those that run at once.
        order: its command at work; None while there is none.
        began: when it was taken up.
        started: when its command last started here.
        seconds: that its commands took here.
        attempts: how often one was started.
        changed: when its log or folder last changed.
    """

    number: int
    spec: ProxySpec
    slot: int
    order: Order | None = None
    began: float = field(default_factory=time.time)
    started: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    changed: float = field(default_factory=time.time)
    _looked: float = 0.0
    _lock: int = -1

    @property
    def settings(self) -> TrainerSettings:
        """The trainer's."""
        assert self.spec.trainer is not None
        return self.spec.trainer.settings

    @property
    def out(self) -> Path:
        """The proxy's folder."""
        return run_folder(self.spec)

    @property
    def log(self) -> Path:
        """What its command prints."""
        return self.out / LOG

    @property
    def reported(self) -> Path:
        """What its command leaves behind."""
        return self.out / REPORTED

    def locked(self) -> bool:
        """Take the proxy's lock; whether it is held. A command that a kill has left holds it as well."""
        if self._lock >= 0:
            return True
        self.spec.lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.spec.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let the lock go, as far as this process holds it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def next_order(self, command: str) -> Order:
        """The command as an order; a line in the log says so."""
        assert self.spec.trainer is not None
        self.attempts += 1
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{_HEAD}{time.strftime('%Y-%m-%d %H:%M:%S')} attempt {self.attempts}: {command}\n")
        self.started = self.changed = time.time()
        return Order(command, self.spec.trainer.base, self.out, self.log, self._lock)

    def silent(self) -> bool:
        """Whether neither its log nor its folder has changed for longer than the study allows."""
        now = time.time()
        if now - self._looked >= _LOOK_EVERY:
            self._looked, self.changed = now, max(self.changed, _last_change(self.out))
        return now - self.changed > 60 * self.settings.silent_minutes

    def note_seconds(self) -> None:
        """Keep what its commands took, so that the same proxy.json can be made again of what they left."""
        write_json(self.out / SECONDS, self.seconds)

    def seconds_noted(self) -> float:
        """What an earlier run noted; 0 where nobody watched its command to the end."""
        try:
            return float(read_json(self.out / SECONDS))
        except (OSError, ValueError, TypeError):
            return 0.0

    def reject(self) -> None:
        """Set aside what was reported."""
        if self.reported.is_file():
            os.replace(self.reported, self.reported.with_name(REJECTED))

    def last_line(self) -> str:
        """The last line that its command printed, shortened; "" where it has printed none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4_000))
                lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            return ""
        return " ".join(lines[-1].split())[:160] if lines and not lines[-1].startswith(_HEAD) else ""


_HEAD = "== "
"""Begins a line of ours in a log."""


def _last_change(folder: Path) -> float:
    found = 0.0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = max(found, os.stat(os.path.join(place, name)).st_mtime)
            except OSError:  # renamed meanwhile: as fresh as can be
                return time.time()
    return found
