"""A worker process: reads tasks as lines of JSON, does them one by one, answers with lines of JSON.

Started by `local.LocalExecutor` as ``python -P -m regmix_pipeline.proxies.workers.worker``. A process of our own rather
than a multiprocessing pool: nothing of the caller's ``__main__`` is imported again, the environment is set before torch
is,
and a worker that is killed takes one task with it, not the pool.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from regmix_pipeline.progress import Say, to_nobody, to_stderr
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stack.units import Outcome
from regmix_pipeline.proxies.workers.local import STACK, Task, explained
from regmix_pipeline.proxies.workers.prepare import prepare_torch


def main() -> None:
    """Serve tasks until standard input ends."""
    answers_no_signals()
    number = int(os.environ.get("REGMIX_WORKER", "0"))
    answers = private_stdout()
    tasks = lines_of_stdin()  # before the imports: they take longer than a parent may live
    prepare_torch()
    gc.freeze()
    # One worker speaks for all: they train like models at the same time.
    say = to_stderr if number == 0 else to_nobody
    while (line := tasks.get()) is not None:
        asked = json.loads(line)
        answers.write(json.dumps(answer(asked, LocalFiles(number, say, asked["gpus"], asked["divide"]))) + "\n")
        answers.flush()


def answers_no_signals() -> None:
    """Leave Ctrl-C and a closed terminal, which reach all processes there, to the parent: it ends this one."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


def private_stdout() -> TextIO:
    """Keep standard output for answers; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def lines_of_stdin() -> queue.SimpleQueue[str | None]:
    """Lines of standard input, read by a thread that ends the process at once when the parent is gone."""
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            tasks.put(line)
        # End of file: the parent closed the pipe or died. A half-done task leaves only a temporary folder.
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return tasks


class TaskFiles(Protocol):
    """Where tasks are done: with their files here, or through a store."""

    def do(self, task: Task) -> Mapping[str, Any]:
        """Train or evaluate; returns what `proxy.json`, or the evaluation's file, holds."""
        ...

    def do_stack(self, specs: Sequence[ProxySpec], stack: int | None) -> Mapping[str, Outcome]:
        """Train several proxies of one shape; returns proxy id -> value or error."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """All files are where the task says they are.

    Attributes:
        number: of the worker, which chooses among CUDA devices.
        say: called with how far a long training is.
        gpus: CUDA devices that a model which is not stacked trains on.
        divide: see `EngineSettings.divide`.
    """

    number: int = 0
    say: Say = to_nobody
    gpus: int = 1
    divide: bool | None = None

    def do(self, task: Task) -> dict[str, Any]:
        """See `TaskFiles`."""
        if isinstance(task, ProxySpec):
            from regmix_pipeline.proxies.device import device_of
            from regmix_pipeline.proxies.train import train_proxy

            if self.gpus > 1 and device_of(task.device).type == "cuda":
                from regmix_pipeline.proxies.workers.parallel import train_in_parallel

                devices = [self.number * self.gpus + place for place in range(self.gpus)]
                return train_in_parallel(task, devices, self.divide)
            return train_proxy(task, self.number, self.say)
        from regmix_pipeline.proxies.evaluate import evaluate_proxy

        return evaluate_proxy(task, self.number)

    def do_stack(self, specs: Sequence[ProxySpec], stack: int | None) -> dict[str, Outcome]:
        """See `TaskFiles`."""
        from regmix_pipeline.proxies.stack.train import train_in_stacks

        return train_in_stacks(specs, stack, self.number, self.say)


def answer(line: Mapping[str, Any], place: TaskFiles) -> dict[str, Any]:
    """Do what `local.line_of_unit` wrote down; returns what `local.results_of_unit` reads, values or errors."""
    started = time.monotonic()
    if line["kind"] == STACK:
        return {"answers": _answers(line["lines"], line["stack"], place, started)}
    try:
        return {"value": place.do(task_of(line)), "seconds": time.monotonic() - started}
    except Exception as error:
        return {"error": explained(error, line["where"]).payload, "seconds": time.monotonic() - started}


def _answers(
    lines: Sequence[Mapping[str, Any]], stack: int | None, place: TaskFiles, started: float
) -> list[dict[str, Any]]:
    tasks: list[ProxySpec | Exception] = []
    for line in lines:
        try:
            tasks.append(ProxySpec.model_validate(line["spec"]))
        except ValueError as error:
            tasks.append(error)
    specs = [task for task in tasks if isinstance(task, ProxySpec)]
    try:
        found = place.do_stack(specs, stack) if specs else {}
    except Exception as error:
        found = {spec.id: error for spec in specs}
    outcomes = [found[task.id] if isinstance(task, ProxySpec) else task for task in tasks]
    seconds = (time.monotonic() - started) / len(lines)
    return [_said(outcome, line["where"]) | {"seconds": seconds} for outcome, line in zip(outcomes, lines, strict=True)]


def _said(outcome: Outcome, where: str) -> dict[str, Any]:
    failed = isinstance(outcome, Exception)
    return {"error": explained(outcome, where).payload} if failed else {"value": outcome}


def task_of(line: Mapping[str, Any]) -> Task:
    """The task that `local.line_of` wrote down."""
    kind = ProxySpec if line["kind"] == ProxySpec.__name__ else EvaluationSpec
    return kind.model_validate(line["spec"])


if __name__ == "__main__":
    main()
