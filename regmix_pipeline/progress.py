"""Progress of long work: one line now and then, with an estimate of the time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from regmix_pipeline.numbers import amount

Say = Callable[[str], None]


_silent = False
_stage: list[str] = []
"""Name of the stage at work, while one is."""
_counted: dict[str, Progress] = {}
"""Stage -> what it counts that a person who stops it wants to know."""


def to_stderr(line: str) -> None:
    """The default way to speak: stderr, which Dagster keeps as a run's compute log. Never fails: work goes on."""
    if not _silent:
        # A full disk under the log, a terminal that is gone.
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def be_silent() -> None:
    """Say nothing more: the process is about to end."""
    global _silent
    _silent = True


@contextmanager
def at_work(stage: str) -> Iterator[None]:
    """Name the stage at work, for `work_so_far`."""
    _counted.pop(stage, None)
    _stage[:] = [stage]
    try:
        yield
    finally:
        _stage.clear()


def work_so_far() -> str:
    """What follows "interrupted": ``: 15 of 56 proxies trained``, or `` during token_shards``; "" between stages."""
    if not _stage:
        return ""
    counted = _counted.get(_stage[0])
    return f": {counted.done} of {counted.total} {counted.what}" if counted else f" during {_stage[0]}"


def to_nobody(line: str) -> None:
    """For work whose progress nobody follows."""


def clock(seconds: float) -> str:
    """``95`` -> ``1m35s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def so_far(done: int, made: int, total: int, seconds: float) -> dict[str, str]:
    """How far work is: ``{"progress": "12 of 66", "time left": "5m40s"}``.

    Args:
        done: items that are ready, reused ones among them.
        made: items made since the start; their rate gives the time left.
        total: items asked for.
        seconds: time since the start.
    """
    left = clock(seconds / made * (total - done)) if made else "not known yet"
    return {"progress": f"{done} of {total}", "time left": left}


@dataclass
class Progress:
    """Counts finished items and says how long the rest will take.

    The estimate uses the rate since the start, which is right for items of like cost.

    Attributes:
        what: what is counted and done to it, ``proxies trained``: said of the stage at work if it is stopped.
    """

    name: str
    total: int
    say: Say = to_stderr
    every: float = 5.0
    what: str = ""
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    _last: float = 0.0

    def __post_init__(self) -> None:
        if self.what and _stage:
            _counted[_stage[0]] = self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` finished items; speak at most once in ``every`` seconds, and at the end."""
        self.done += amount
        now = time.monotonic()
        last_item = self.done >= self.total
        if not last_item and now - self._last < self.every:
            return
        self._last = now
        elapsed = now - self.started
        left = elapsed / self.done * (self.total - self.done) if self.done else 0.0
        tail = f"took {clock(elapsed)}" if last_item else f"ETA {clock(left)}"
        self.say(f"  {self.name:<18} {self.done:>4}/{self.total} · {tail}{' · ' + note if note else ''}")


WITHIN = 10.0
"""Seconds between two lines about one model; more where it takes hours."""


@dataclass
class Within:
    """Says how far one model's training is, when it takes long.

    Args:
        name: of the model.
        steps: at its end.
        tokens: of a step.
        say: told at most once in `WITHIN` seconds, and nothing of a model that takes less.
        began: steps that were taken before.
    """

    name: str
    steps: int
    tokens: int
    say: Say
    began: int = 0
    started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)

    def at(self, step: int) -> None:
        """So many steps are taken."""
        now = time.monotonic()
        if now - self._last < max(WITHIN, (now - self.started) / 30) or step >= self.steps:
            return
        self._last = now
        left = (now - self.started) / max(step - self.began, 1) * (self.steps - step)
        done, whole = amount(step * self.tokens), amount(self.steps * self.tokens)
        self.say(f"    {self.name} {step:,}/{self.steps:,} steps, {done} of {whole} tokens · ETA {clock(left)}")
