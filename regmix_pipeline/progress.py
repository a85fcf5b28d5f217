"""Progress of long work: a bar on a terminal, elsewhere a line now and then; with an estimate of the time left."""

from __future__ import annotations

import atexit
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regmix_pipeline.numbers import amount

if TYPE_CHECKING:
    from rich import progress

Say = Callable[[str], None]


_silent = False
_stage: list[str] = []
"""Name of the stage at work, while one is."""
_counted: dict[str, Progress] = {}
"""Stage -> what it counts that a person who stops it wants to know."""
_bars: list[progress.Progress] = []
"""The bars on the terminal, while there are any."""


def to_stderr(line: str) -> None:
    """The default way to speak: stderr, which Dagster keeps as a run's compute log. Never fails: work goes on."""
    if not _silent:
        # A full disk under the log, a terminal that is gone.
        with contextlib.suppress(OSError):
            if _bars:
                _bars[0].console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                print(line, file=sys.stderr, flush=True)


def _show_bars() -> progress.Progress:
    """The bars on the terminal. No thread draws them: `Progress.advance` does."""
    if not _bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("  {task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tail]}"),
        )
        bars = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
        bars.start()
        _bars.append(bars)
    return _bars[0]


@atexit.register
def _remove_bars() -> None:
    """Remove the bars, and give the terminal its cursor back."""
    while _bars:
        with contextlib.suppress(OSError):
            _bars.pop().stop()


def be_silent() -> None:
    """Say nothing more: the process is about to end."""
    global _silent
    _remove_bars()
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
        _remove_bars()


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
    _bar: progress.TaskID | None = None

    def __post_init__(self) -> None:
        if self.what and _stage:
            _counted[_stage[0]] = self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count ``amount`` finished items; speak at most once in ``every`` seconds, and at the end.

        On a terminal a bar moves instead, and only the last line stays.
        """
        self.done += amount
        now = time.monotonic()
        last_item = self.done >= self.total
        on_terminal = self.say is to_stderr and not _silent and sys.stderr.isatty()
        if not last_item and now - self._last < (DRAW_EVERY if on_terminal else self.every):
            return
        self._last = now
        elapsed = now - self.started
        left = elapsed / self.done * (self.total - self.done) if self.done else 0.0
        tail = f"{f'took {clock(elapsed)}' if last_item else f'ETA {clock(left)}'}{' · ' + note if note else ''}"
        if on_terminal and not last_item:
            self._draw(tail)
            return
        if self._bar is not None:
            _remove_bars()
        self.say(f"  {self.name:<18} {self.done:>4}/{self.total} · {tail}")

    def _draw(self, tail: str) -> None:
        with contextlib.suppress(OSError):
            bars = _show_bars()
            if self._bar is None or self._bar not in bars.task_ids:
                self._bar = bars.add_task(self.name, total=self.total, completed=self.done, tail=tail)
            bars.update(self._bar, completed=self.done, tail=tail)
            bars.refresh()


DRAW_EVERY = 0.1
"""Seconds between two drawings of a bar."""
WITHIN = 10.0
"""Seconds between two lines about one model; more where it takes hours."""


@dataclass
class Within:
    """Says how far one model's training is, when it takes long.

    Args:
        name: of the model.
        steps: at its end.
        tokens: of a step.
        say: called at most once in `WITHIN` seconds, and nothing of a model that takes less.
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
