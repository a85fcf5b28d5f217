"""The process that runs the commands: some at a time, each watched, retried, and its losses checked.

Reads settings and tasks as one line of JSON, answers with lines of JSON, and ends its commands when its input ends. A
command that outlives a kill holds its proxy's lock, or its job's name; the next run waits for it, and takes up what it
leaves. So nothing is trained twice at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regmix_pipeline.errors import ProxyError, RegmixError
from regmix_pipeline.files import read_json
from regmix_pipeline.progress import Say, clock
from regmix_pipeline.proxies.commands.finish import finish
from regmix_pipeline.proxies.commands.inputs import write_inputs
from regmix_pipeline.proxies.commands.places import Here, OnSlurm, Place
from regmix_pipeline.proxies.commands.run import CommandRun
from regmix_pipeline.proxies.integrity import RECORD
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.local import explained, where_of
from regmix_pipeline.proxies.workers.worker import answers_no_signals, private_stdout
from regmix_pipeline.study.settings.workers import EngineSettings

SAY_EVERY = 30.0
"""Seconds between two lines about the commands at work."""
HOPELESS = 5
"""Proxies that fail before one succeeds: then no further command is started."""


class CommandFailedError(Exception):
    """A command that may be run again failed, and how: after "the command"."""


class CommandQueue:
    """Runs the commands of proxies.

    Args:
        place: where.
        at_once: how many at once.
        say: called with a line about those at work.
    """

    def __init__(self, place: Place, at_once: int, say: Say) -> None:
        self.place, self.at_once, self.say = place, at_once, say
        self.stopping = False
        self._going: list[CommandRun] = []
        self._said = time.time()

    def work(self, specs: Sequence[ProxySpec]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number of a proxy, and its value or error, in the order in which they end."""
        waiting, slots = deque(enumerate(specs)), list(range(self.at_once))[::-1]
        good = bad = 0
        while (waiting or self._going) and not self.stopping:
            while waiting and slots and (good or bad < HOPELESS):
                self._going.append(CommandRun(*waiting.popleft(), slots.pop()))
            self.place.look()
            ended = [(run, answer) for run in self._going if (answer := self._looked_at(run)) is not None]
            for run, answer in ended:
                self._going.remove(run)
                slots.append(run.slot)
                run.release()
                good, bad = good + ("value" in answer), bad + ("error" in answer)
                yield run.number, answer
            if not self._going and not good and bad >= HOPELESS:
                for number, spec in waiting:
                    yield number, _not_started(spec, bad)
                return
            if not ended:
                self._say()
                time.sleep(self.place.pause)

    def stop(self) -> None:
        """End the commands at work."""
        self.place.stop(*(run.order for run in self._going if run.order is not None))

    def _looked_at(self, run: CommandRun) -> dict[str, Any] | None:
        """A run's answer; None while it is at work."""
        where = f"{where_of(run.spec)}, log {run.log}"
        try:
            value = self._step(run)
        except CommandFailedError as error:
            if run.attempts <= run.settings.retries:
                self.say(f"    {run.spec.id}: the command {error}; it is run again, log {run.log}")
                return None
            often, last = f", after {run.attempts} attempts" if run.attempts > 1 else "", run.last_line()
            failed = ProxyError(
                f"the command {error}{often}{f': {last}' if last else ''}",
                where=where,
                remedy="see the log, and run again: finished proxies are kept, and its folder is as it was left",
            )
            return {"error": failed.payload, "seconds": run.seconds}
        except Exception as error:
            return {"error": explained(error, where).payload, "seconds": run.seconds}
        return None if value is None else {"value": value, "seconds": run.seconds}

    def _step(self, run: CommandRun) -> dict[str, Any] | None:
        """Go on with a run as far as it goes; its value once it is finished.

        Raises:
            CommandFailedError: the command failed.
            RegmixError: it reported what cannot be used, or it cannot be started.
        """
        if not run.locked():
            if run.silent():
                raise ProxyError(
                    f"the command of an earlier run is still there, and wrote nothing for "
                    f"{run.settings.silent_minutes:g} minutes",
                    where=f"{where_of(run.spec)}, log {run.log}",
                    remedy=f"end it (`fuser -k {run.spec.lock}`), and run again",
                )
            return None
        if run.order is None:
            if run.spec.is_finished:
                return read_json(run.spec.output / RECORD)
            if not run.attempts and (found := self._found(run)) is not None:
                return found
            order = run.next_order(write_inputs(run.spec, run.slot))
            self.place.start(order)
            run.order = order
            return None
        how = self.place.ended(run.order)
        if how is None and self.place.works(run.order) and run.silent():
            self.place.stop(run.order)
            minutes = run.settings.silent_minutes
            how = f"wrote nothing for {minutes:g} minutes (proxies.trainer.silent_minutes), and was ended"
        if how is None:
            return None
        run.order = None
        run.seconds += time.time() - run.started
        if how:
            run.reject()
            raise CommandFailedError(how)
        try:
            run.note_seconds()
            return finish(run.spec, run.seconds)
        except FileNotFoundError:
            raise CommandFailedError(f"ended and left no {run.reported}") from None
        except RegmixError:
            run.reject()
            raise

    def _found(self, run: CommandRun) -> dict[str, Any] | None:
        """The finished proxy of what a command left that nobody watched to its end, as after a kill; None for none."""
        try:
            return finish(run.spec, run.seconds_noted())
        except FileNotFoundError:
            return None
        except ProxyError as error:
            run.reject()
            self.say(f"    {run.spec.id}: its losses.json does not count, and the command is run: {error.problem}")
            return None

    def _say(self) -> None:
        now = time.time()
        if now - self._said < SAY_EVERY or not self._going:
            return
        self._said = now
        oldest = min(self._going, key=lambda run: run.began)
        last = oldest.last_line()
        working = sum(run.order is not None and self.place.works(run.order) for run in self._going)
        self.say(
            f"    {working} of {len(self._going)} commands at work; {oldest.spec.id} since "
            f"{clock(now - oldest.began)}{f': {last}' if last else ''}"
        )


def _not_started(spec: ProxySpec, failed: int) -> dict[str, Any]:
    error = ProxyError(
        f"its command was not started, as {failed} others failed and none succeeded",
        where=where_of(spec),
        remedy="see what the others' errors say",
    )
    return {"error": error.payload, "seconds": 0.0}


def main() -> None:
    """Do the tasks of the first line of standard input, and end when that ends."""
    answers_no_signals()
    answers = private_stdout()
    asked: Mapping[str, Any] = json.loads(sys.stdin.readline() or "{}")
    if not asked:
        return

    def report(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    settings = EngineSettings.model_validate(asked["settings"])
    place: Place = OnSlurm(settings.sbatch_args) if settings.kind == "slurm" else Here()
    commands = CommandQueue(place, asked["at_once"], lambda line: report(said=line))

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
            report(task=number, answer=answer)
    except RegmixError as error:
        report(refused=error.payload)
    except BrokenPipeError:
        pass
    finally:
        commands.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
