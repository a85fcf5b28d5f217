"""How a command stops on Ctrl-C, SIGTERM or SIGHUP: at once, in one line, whatever it waits for.

The work is done in a thread, and the main thread waits for signals. On one it ends the processes at work, reports what
has to be reported, and leaves without unwinding the work: a process that is killed at any moment leaves whole files.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn

from regmix_pipeline.processes import end_all
from regmix_pipeline.progress import be_silent, work_so_far

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK = 0.1
"""Seconds between looks whether a signal has arrived."""
REPORTED_WITHIN = 20.0
"""Seconds that reports may take: a run of which nothing was reported is found by the next one."""

_reports: list[Callable[[], None]] = []


class Interrupted(BaseException):
    """A signal arrived; no `Exception`, so that nobody takes it for an error.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        """Exit status of the process."""
        super().__init__(signal.Signals(number).name)


@contextmanager
def reported_on_stop(report: Callable[[], None]) -> Iterator[None]:
    """Call ``report`` if the command is stopped meanwhile, while its own thread goes on."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.remove(report)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` where the process is when a first signal arrives; further ones are ignored from then on.

    In another thread than the main one: nothing.
    """
    with _handled(_raise):
        yield


def stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command in a thread, so that a signal ends the process at any moment."""

    @wraps(command)
    def stopped(*args: Any, **kwargs: Any) -> None:
        ended, raised = threading.Event(), []

        def work() -> None:
            try:
                command(*args, **kwargs)
            except BaseException as error:
                raised.append(error)
            finally:
                ended.set()

        # A step's output goes to its log meanwhile: this stays the terminal.
        terminal = os.dup(2)
        try:
            with _handled(lambda number, _: _stop(number, terminal)):
                threading.Thread(target=work, daemon=True).start()
                # Looked up from time to time: a signal that the system hands to another thread wakes no endless wait.
                while not ended.wait(LOOK):
                    pass
        finally:
            os.close(terminal)
        if raised:
            raise raised[0]

    return stopped


@contextmanager
def _handled(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # SIGHUP stays ignored under nohup. SIGINT does not: a shell makes every background process ignore it.
    signals = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    except Interrupted:  # the process is about to end
        raise
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for each, handler in before.items():
        signal.signal(each, handler)


def _raise(number: int, _: Any) -> None:
    _ignore()
    raise Interrupted(number)


def _ignore() -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _stop(number: int, terminal: int) -> NoReturn:
    _ignore()
    be_silent()
    end_all()
    reports = threading.Thread(target=_report, daemon=True)
    reports.start()
    reports.join(REPORTED_WITHIN)
    line = f"interrupted{work_so_far()}; run again to continue\n"
    try:
        os.write(terminal, line.encode(sys.getfilesystemencoding(), "replace"))
    finally:
        os._exit(128 + number)


def _report() -> None:
    for report in list(_reports):
        try:
            report()
        except Exception:  # the next run finds what was not reported
            continue
