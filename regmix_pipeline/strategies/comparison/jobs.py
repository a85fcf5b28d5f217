"""Several strategies at work at once, each in a process of its own.

A strategy waits for its runs or trains a session itself, so each is given one core: as many are at work as the study
trains models at once.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from regmix_pipeline.errors import ProxyError, RegmixError, error_of
from regmix_pipeline.lab import Lab
from regmix_pipeline.processes import WORKER_SETTINGS, Child, how_it_ended
from regmix_pipeline.proxies.trainer import default_workers
from regmix_pipeline.strategies.comparison.job import task_of


def done(lab: Lab, names: Sequence[str]) -> Iterator[tuple[str, RegmixError | None]]:
    """Let strategies choose; yield each as it is done, with its error if it failed. Closing the iterator stops them.

    Args:
        lab: the study on disk.
        names: the strategies.
    """
    cores = lab.workers or default_workers()
    at_once = min(cores, len(names))
    waiting = deque(names)
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                while waiting and len(selector.get_map()) < at_once:
                    job = _Job(lab, waiting.popleft(), max(1, cores // at_once))
                    selector.register(job.answers, selectors.EVENT_READ, job)
                for key, _ in selector.select():
                    job: _Job = key.data
                    selector.unregister(job.answers)
                    yield job.name, job.result()
        finally:
            for key in selector.get_map().values():
                key.data.stop()


class _Job:
    """A strategy's process."""

    def __init__(self, lab: Lab, name: str, workers: int) -> None:
        self.name = name
        self._child = Child("regmix_pipeline.strategies.comparison.process", WORKER_SETTINGS)
        self._child.tell(task_of(lab, name, workers))

    @property
    def answers(self) -> Any:
        return self._child.answers

    def result(self) -> RegmixError | None:
        """Wait for its answer, and for its end."""
        answer, code = self._child.answer(), self._child.end()
        where = f"strategy {self.name}"
        if answer is None:
            remedy = "its log is above; run again: what it had finished is kept"
            return ProxyError(f"its process {how_it_ended(code)}", where=where, remedy=remedy)
        return error_of(answer["error"], ProxyError, where) if "error" in answer else None

    def stop(self) -> None:
        self._child.stop()
