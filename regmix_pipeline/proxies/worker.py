"""A worker process: reads tasks as lines of JSON, does them one by one, answers with lines of JSON.

Started by `trainer.LocalTrainer` as ``python -P -m regmix_pipeline.proxies.worker``. A process of our own rather than
a multiprocessing pool: nothing of the caller's ``__main__`` is imported again, the environment is set before torch is,
and a worker that is killed takes one task with it, not the pool.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.trainer import failure_of


def main() -> None:
    """Serve tasks until standard input ends."""
    number = int(os.environ.get("REGMIX_WORKER", "0"))
    answers = _private_stdout()
    _prepare_torch()
    tasks = _tasks()
    while (line := tasks.get()) is not None:
        answers.write(json.dumps(_done(line, number)) + "\n")
        answers.flush()


def _private_stdout() -> TextIO:
    """Keep standard output for answers; whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _tasks() -> queue.SimpleQueue[str | None]:
    """Lines of standard input, read by a thread that ends the process at once when the parent is gone."""
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            tasks.put(line)
        # End of file: the parent closed the pipe or died. A half-done task leaves only a temporary folder.
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return tasks


def _prepare_torch() -> None:
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # AdamW's averages decay into denormals, which are slow
    gc.freeze()


def _done(line: str, number: int) -> dict[str, Any]:
    task = json.loads(line)
    started = time.monotonic()
    try:
        value = KINDS[task["kind"]](task["spec"], number)
        return {"value": value, "seconds": time.monotonic() - started}
    except Exception as error:
        return {"error": failure_of(error, task["where"]), "seconds": time.monotonic() - started}


def _train(spec: dict[str, Any], number: int) -> dict[str, Any]:
    from regmix_pipeline.proxies.train import train_proxy

    return train_proxy(ProxySpec.model_validate(spec), number)


def _evaluate(spec: dict[str, Any], number: int) -> dict[str, Any]:
    from regmix_pipeline.proxies.evaluate import evaluate_proxy

    return evaluate_proxy(EvaluationSpec.model_validate(spec), number)


KINDS: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    ProxySpec.__name__: _train,
    EvaluationSpec.__name__: _evaluate,
}

if __name__ == "__main__":
    main()
