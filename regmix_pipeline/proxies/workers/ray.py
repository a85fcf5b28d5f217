"""Proxies as tasks of a Ray cluster, through a process of our own that speaks to it.

Ray prints what befalls its nodes, and ends the process that is connected once the cluster's head is gone. In a process
of its own both reach a log and a message, and neither the terminal nor the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from regmix_pipeline.processes import Child
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.proxies.stack.units import shape_of
from regmix_pipeline.proxies.workers.local import Result, Task, finished_results, line_of, results_of
from regmix_pipeline.study.settings.workers import EngineSettings


class RayExecutor:
    """Tasks on a Ray cluster.

    Args:
        settings: address, what a proxy takes, and the store; without one all nodes share the study's disk.
        say: called when the cluster has no room, and when Ray printed something.
        log: the file that takes what Ray prints; None: standard error.
    """

    def __init__(self, settings: EngineSettings, say: Say = to_stderr, log: Path | None = None) -> None:
        self.settings, self.say, self.log = settings, say, log

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalExecutor.run`.

        Raises:
            ProxyError: Ray is not installed, no cluster answers, or no node of it is large enough for a proxy.
        """
        waiting: list[Task] = []
        yield from finished_results(tasks, waiting.append)
        if waiting:
            yield from self._work(waiting)

    def _work(self, tasks: Sequence[Task]) -> Iterator[Result]:
        before = self._printed()
        with ExitStack() as until_done:
            log = until_done.enter_context(self.log.open("ab")) if self.log is not None else None
            child = Child("regmix_pipeline.proxies.workers.ray_driver", {}, log)
            until_done.callback(child.stop)
            child.tell(
                {
                    "settings": self.settings.model_dump(mode="json"),
                    "tasks": [line_of(task) for task in tasks],
                    "shapes": [shape_of(task) for task in tasks],
                }
            )
            yield from results_of(
                child,
                tasks,
                self.say,
                "the process that speaks to the Ray cluster",
                where=str(self.log or "proxies.engine"),
                remedy="see in this log whether the cluster's head is up, and run again: finished proxies are kept",
            )
        if self._printed() > before:
            self.say(f"  Ray: what it printed meanwhile is in {self.log}")

    def _printed(self) -> int:
        """Bytes in the log."""
        return self.log.stat().st_size if self.log is not None and self.log.exists() else 0
