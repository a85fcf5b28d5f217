"""Processes of this package that a run starts: where they find its modules, lines of JSON with them, how they end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import regmix_pipeline

T = TypeVar("T")
WORKER_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Huge pages for torch's large tensors on a CPU: fewer page faults, up to a sixth more speed.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""What the environment of a process that trains has, and its parent's need not."""


def command(module: str, *arguments: str) -> list[str]:
    """The command of one of this package's modules, with nothing from the working directory on its search path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_search() -> str:
    """PYTHONPATH of a process that finds this very package, and after it whatever this process was configured to
    find."""
    package = str(Path(regmix_pipeline.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


def how_it_ended(code: int) -> str:
    """What a process's return code says, after "the process": by which signal it was killed, or its status."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # real-time signals have no names
        return f"was killed by signal {-code}"


_started: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()
"""Processes that end with this one."""
_tidy: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()
"""Those of them that have something to do when their input ends, such as to cancel their jobs."""
_starting, _ending = threading.Lock(), threading.Event()


def start(words: Sequence[str], *, tidy: bool = False, **options: Any) -> subprocess.Popen[Any]:
    """Start a process that `end_all` ends: by closing its input if it is ``tidy``, otherwise by killing it.

    Once this process is about to end, nothing is started, and this does not return.
    """
    with _starting:
        if not _ending.is_set():
            process = subprocess.Popen(words, **options)
            (_tidy if tidy else _started).add(process)
            return process
    while True:
        time.sleep(60)


def end_all(seconds: float = 5.0) -> None:
    """End every process that was started here, and wait until it has ended; after ``seconds`` kill what has not."""
    with _starting:
        _ending.set()
    for process in [*_started]:
        process.kill()
    for process in [*_tidy]:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
    until = time.monotonic() + seconds
    for process in [*_tidy, *_started]:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


_DEAF = ("/bin/sh", "-c", 'trap "" INT HUP; exec "$@"', "sh")
"""Before a command: it ignores Ctrl-C and a closed terminal from its first moment, imports included. The parent, which
gets these signals as well, ends it."""


class Child:
    """A process that reads lines of JSON and answers with lines of JSON.

    Its standard input stays open until it shall end: its end signals that the parent is gone, however the parent ends.

    Args:
        module: the module to run.
        environment: what its environment has beside this process's.
        log: takes what it logs; None: standard error does.
        tidy: whether it has something to do when its input ends; see `start`.
    """

    def __init__(
        self, module: str, environment: Mapping[str, str], log: IO[bytes] | None = None, *, tidy: bool = False
    ) -> None:
        self._process = start(
            [*_DEAF, *command(module)],
            tidy=tidy,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env=os.environ | environment | {"PYTHONPATH": module_search()},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks = self._process.stdin
        self.answers: IO[str] = self._process.stdout
        """Its answers: for a selector, that says when there is one."""

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def tell(self, value: Any) -> None:
        """Send it a line. Nothing is raised if it has died: `answer` says so."""
        with contextlib.suppress(BrokenPipeError):
            self._tasks.write(json.dumps(value) + "\n")
            self._tasks.flush()

    def answer(self) -> Any | None:
        """Wait for its next answer; None if it died before that was whole."""
        line = self.answers.readline()
        return json.loads(line) if line.endswith("\n") else None

    def end(self) -> int:
        """Let it end, wait until it has, and return its return code."""
        for pipe in (self._tasks, self.answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return self._process.wait()

    def stop(self) -> None:
        """End it at once."""
        self._process.terminate()
        self.end()


def answers(
    module: str, tasks: Iterable[T], line_of: Callable[[T], Any], workers: int, *, keep: bool = True
) -> Generator[tuple[T, Any | None, int]]:
    """Do tasks in processes of a module, several at once. Closing the iterator stops the processes.

    Args:
        module: reads a line of JSON and answers it with another one.
        tasks: the tasks.
        line_of: a task's line.
        workers: processes at most; each is started when there is a task for it.
        keep: whether a process takes another task after its first.

    Yields:
        the task, its answer, and 0; where its process died, None and the return code.
    """
    waiting = deque(tasks)
    idle: list[tuple[int, Child | None]] = [(number, None) for number in range(min(workers, len(waiting)))]
    with selectors.DefaultSelector() as busy:
        try:
            while waiting or busy.get_map():
                while waiting and idle:
                    number, child = idle.pop()
                    if child is not None and not child.alive:
                        child.stop()
                        child = None
                    child = child or Child(module, WORKER_SETTINGS | {"REGMIX_WORKER": str(number)})
                    task = waiting.popleft()
                    busy.register(child.answers, selectors.EVENT_READ, (number, child, task))
                    child.tell(line_of(task))
                for key, _ in busy.select():
                    number, child, task = key.data
                    busy.unregister(child.answers)
                    answer = child.answer()
                    ends = answer is None or not keep
                    idle.append((number, None if ends else child))
                    yield task, answer, child.end() if ends else 0
        finally:
            for child in [*(each for _, each in idle), *(key.data[1] for key in busy.get_map().values())]:
                if child is not None:
                    child.stop()
