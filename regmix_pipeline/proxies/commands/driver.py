"""The process that runs the commands: some at a time, each watched, retried, and its losses checked.

Reads settings and tasks as one line of JSON, answers with lines of JSON, and ends its commands when its input ends. A
command that outlives a kill holds its proxy's lock, or its job's name; the next run waits for it, and takes up what it
leaves. So nothing is trained twice at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError, RegmixError
from regmix_pipeline.files import read_json
from regmix_pipeline.progress import clock
from regmix_pipeline.proxies.commands.finish import finish, reported_of
from regmix_pipeline.proxies.commands.places import Here, OnSlurm, Order, Place
from regmix_pipeline.proxies.commands.told import run_folder, tell
from regmix_pipeline.proxies.integrity import RECORD
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.local import explained, where_of
from regmix_pipeline.proxies.workers.worker import answers_no_signals, private_stdout
from regmix_pipeline.study.settings.workers import EngineSettings

LOG = "log.txt"
REJECTED = "losses.rejected.json"
"""What becomes of a `losses.json` that does not count: to be looked at, and never read again."""
SAY_EVERY = 30.0
"""Seconds between two lines about the commands at work."""
_SILENT_FOR = 5.0
"""Seconds between two looks for changes in a command's folder."""


class CommandFailedError(Exception):
    """A command that may be run again failed, and how: after "the command"."""


@dataclass
class Run:
    """A proxy whose command is at work, or is waited for.

    Attributes:
        number: of the task.
        spec: the proxy.
        slot: its place among those that run at once.
        began: when it was taken up.
        started: when its command last started here; 0 before.
        attempts: how often it did.
        changed: when its log or folder last changed.
    """

    number: int
    spec: ProxySpec
    slot: int
    began: float = field(default_factory=time.time)
    order: Order | None = None
    lock: int = -1
    started: float = 0.0
    attempts: int = 0
    seconds: float = 0.0
    changed: float = field(default_factory=time.time)
    looked: float = 0.0

    @property
    def out(self) -> Path:
        """The proxy's folder."""
        return run_folder(self.spec)

    @property
    def log(self) -> Path:
        """What its command prints."""
        return self.out / LOG


class Commands:
    """Runs the commands of proxies.

    Args:
        place: where.
        at_once: how many at once.
        say: called with a line about those at work.
    """

    def __init__(self, place: Place, at_once: int, say: Any) -> None:
        self.place, self.at_once, self.say = place, at_once, say
        self.stopping = False
        self._going: list[Run] = []
        self._said = time.time()

    def work(self, specs: Sequence[ProxySpec]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number of a proxy, and its value or error, in the order in which they end."""
        waiting, slots = deque(enumerate(specs)), list(range(self.at_once))[::-1]
        while (waiting or self._going) and not self.stopping:
            while waiting and slots:
                self._going.append(Run(*waiting.popleft(), slots.pop()))
            self.place.look()
            ended = [(run, answer) for run in self._going if (answer := self._looked_at(run)) is not None]
            for run, answer in ended:
                self._going.remove(run)
                slots.append(run.slot)
                self._release(run)
                yield run.number, answer
            if not ended:
                self._say()
                time.sleep(self.place.pause)

    def stop(self) -> None:
        """End the commands at work."""
        self.place.stop(*(run.order for run in self._going if run.order is not None))

    def _looked_at(self, run: Run) -> dict[str, Any] | None:
        """A run's answer; None while it is at work."""
        where = f"{where_of(run.spec)}, log {run.log}"
        try:
            value = self._step(run)
        except CommandFailedError as error:
            retries = run.spec.trainer.settings.retries if run.spec.trainer is not None else 0
            if run.attempts <= retries:
                self.say(f"    {run.spec.id}: the command {error}; it is run again, log {run.log}")
                return None
            last = _last_line(run.log)
            problem = f"the command {error}{f', after {run.attempts} attempts' if run.attempts > 1 else ''}"
            remedy = "see the log, and run again: finished proxies are kept, and its folder is as the command left it"
            told = ProxyError(f"{problem}{f': {last}' if last else ''}", where=where, remedy=remedy)
            return {"error": told.payload, "seconds": run.seconds}
        except Exception as error:
            return {"error": explained(error, where).payload, "seconds": run.seconds}
        return None if value is None else {"value": value, "seconds": run.seconds}

    def _step(self, run: Run) -> dict[str, Any] | None:
        """Go on with a run as far as it goes; its value once it is finished.

        Raises:
            CommandFailedError: the command failed.
            RegmixError: it reported what cannot be used, or it cannot be started.
        """
        if run.lock < 0 and not self._lock(run):
            self._watch(run)  # an earlier run's command is at work
            return None
        if run.order is None:
            if run.spec.is_finished:
                return read_json(run.spec.output / RECORD)
            if not run.attempts and (found := self._found(run)) is not None:
                return found
            self._start(run)
            return None
        if self.place.works(run.order):
            self._watch(run)
        how = self.place.ended(run.order)
        if how is None:
            return None
        run.order = None
        run.seconds += time.time() - run.started
        if how:
            _reject(reported_of(run.spec))
            raise CommandFailedError(how)
        try:
            return finish(run.spec, run.seconds)
        except FileNotFoundError:
            raise CommandFailedError(f"ended and left no {reported_of(run.spec)}") from None
        except RegmixError:
            _reject(reported_of(run.spec))
            raise

    def _found(self, run: Run) -> dict[str, Any] | None:
        """The finished proxy of what a command left that nobody watched to its end, as after a kill; None for none."""
        try:
            return finish(run.spec, 0.0)
        except FileNotFoundError:
            return None
        except ProxyError as error:
            _reject(reported_of(run.spec))
            self.say(f"    {run.spec.id}: its losses.json does not count, and the command is run: {error.problem}")
            return None

    def _start(self, run: Run) -> None:
        assert run.spec.trainer is not None
        command = tell(run.spec, run.slot)
        run.attempts += 1
        with run.log.open("a", encoding="utf-8") as log:
            log.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} attempt {run.attempts}: {command}\n")
        run.started = run.changed = time.time()
        order = Order(command, run.spec.trainer.base, run.out, run.log, run.lock)
        self.place.start(order)
        run.order = order

    def _lock(self, run: Run) -> bool:
        run.spec.lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run.spec.lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        run.lock = descriptor
        return True

    def _release(self, run: Run) -> None:
        if run.lock >= 0:
            os.close(run.lock)

    def _watch(self, run: Run) -> None:
        """Raise CommandFailedError where neither log nor folder has changed for too long."""
        now = time.time()
        if now - run.looked < _SILENT_FOR:
            return
        run.looked = now
        run.changed = max(run.changed, _last_change(run.out))
        assert run.spec.trainer is not None
        minutes = run.spec.trainer.settings.silent_minutes
        if now - run.changed < 60 * minutes:
            return
        if run.order is None:
            raise ProxyError(
                f"the command of an earlier run is still there, and silent for {minutes:g} minutes",
                where=f"{where_of(run.spec)}, log {run.log}",
                remedy=f"end it (`fuser -k {run.spec.lock}`), and run again",
            )
        order, run.order = run.order, None
        self.place.stop(order)
        run.seconds += now - run.started
        raise CommandFailedError(
            f"hung: it wrote nothing for {minutes:g} minutes and was ended (proxies.trainer.silent_minutes)"
        )

    def _say(self) -> None:
        now = time.time()
        if now - self._said < SAY_EVERY or not self._going:
            return
        self._said = now
        oldest = min(self._going, key=lambda run: run.began)
        last = _last_line(oldest.log)
        states = sum(run.order is not None and self.place.works(run.order) for run in self._going)
        self.say(
            f"    {states} of {len(self._going)} commands at work; {oldest.spec.id} since "
            f"{clock(now - oldest.began)}{f': {last}' if last else ''}"
        )


def _reject(path: Path) -> None:
    if path.is_file():
        os.replace(path, path.with_name(REJECTED))


def _last_change(folder: Path) -> float:
    found = 0.0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = max(found, os.stat(os.path.join(place, name)).st_mtime)
            except OSError:  # renamed meanwhile: as fresh as can be
                return time.time()
    return found


def _last_line(log: Path) -> str:
    """The last line that a command printed, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4_000))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return " ".join(lines[-1].split())[:160] if lines and not lines[-1].startswith("== ") else ""


def main() -> None:
    """Do the tasks of the first line of standard input, and end when that ends."""
    answers_no_signals()
    answers = private_stdout()
    asked: Mapping[str, Any] = json.loads(sys.stdin.readline() or "{}")
    if not asked:
        return

    def tell_run(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    settings = EngineSettings.model_validate(asked["settings"])
    place: Place = OnSlurm(settings.sbatch_args) if settings.kind == "slurm" else Here()
    commands = Commands(place, asked["at_once"], lambda line: tell_run(said=line))

    def stop(*_: Any) -> None:
        commands.stopping = True

    def read() -> None:
        while sys.stdin.read(1):
            pass
        stop()

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=read, daemon=True).start()
    try:
        for number, answer in commands.work([ProxySpec.model_validate(each) for each in asked["tasks"]]):
            tell_run(task=number, answer=answer)
    except RegmixError as error:
        tell_run(refused=error.payload)
    except BrokenPipeError:
        pass
    finally:
        commands.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
