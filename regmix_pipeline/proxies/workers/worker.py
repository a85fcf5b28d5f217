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
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from regmix_pipeline.progress import Say, to_nobody, to_stderr
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.workers.local import Task, explained


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
        answers.write(json.dumps(answer(json.loads(line), lambda task: done_here(task, number, say))) + "\n")
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


def prepare_torch() -> None:
    """One thread, and no slow denormals."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # AdamW's averages decay into denormals, which are slow


def answer(line: Mapping[str, Any], do: Callable[[Task], Mapping[str, Any]]) -> dict[str, Any]:
    """Do the task that `trainer.line_of` wrote down, and return what `trainer.result_of` reads: a value or an error."""
    started = time.monotonic()
    try:
        return {"value": do(_task_of(line)), "seconds": time.monotonic() - started}
    except Exception as error:
        return {"error": explained(error, line["where"]).payload, "seconds": time.monotonic() - started}


def _task_of(line: Mapping[str, Any]) -> Task:
    kind = ProxySpec if line["kind"] == ProxySpec.__name__ else EvaluationSpec
    return kind.model_validate(line["spec"])


def done_here(task: Task, number: int = 0, say: Say = to_nobody) -> dict[str, Any]:
    """Train or evaluate, with all files where the task says they are; ``number`` chooses among CUDA devices, ``say`` is
    called with how far a long training is."""
    if isinstance(task, ProxySpec):
        from regmix_pipeline.proxies.train import train_proxy

        return train_proxy(task, number, say)
    from regmix_pipeline.proxies.evaluate import evaluate_proxy

    return evaluate_proxy(task, number)


if __name__ == "__main__":
    main()
