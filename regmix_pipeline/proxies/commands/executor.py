"""Proxies by a command of the user's own, behind the seam of all executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json
from regmix_pipeline.processes import Child
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.proxies.commands.finish import loss_fields
from regmix_pipeline.proxies.commands.reported import Reported
from regmix_pipeline.proxies.evaluations import write_evaluation
from regmix_pipeline.proxies.integrity import REPORTED, require_intact
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.workers.failed import failed
from regmix_pipeline.proxies.workers.local import Result, Task, TaskExecutor, finished_results, results_of
from regmix_pipeline.study.settings.workers import EngineSettings


class CommandExecutor:
    """Runs a command for each proxy; reads what it reported for each evaluation.

    Args:
        settings: where the commands run.
        at_once: how many at once.
        otherwise: makes the executor of all other tasks, of models that this package trains.
        say: called with lines about the commands at work.
    """

    def __init__(
        self, settings: EngineSettings, at_once: int, otherwise: Callable[[], TaskExecutor], say: Say = to_stderr
    ) -> None:
        self.settings, self.at_once, self.otherwise, self.say = settings, at_once, otherwise, say

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalExecutor.run`.

        Raises:
            ProxyError: the process that runs the commands died, or Slurm refuses its jobs.
        """
        waiting: list[Task] = []
        yield from finished_results(tasks, waiting.append)
        commands = [task for task in waiting if isinstance(task, ProxySpec) and task.trainer is not None]
        reported = [task for task in waiting if isinstance(task, EvaluationSpec) and task.reported]
        others = [task for task in waiting if task not in commands and task not in reported]
        for task in reported:
            try:
                result = Result(task, read_loss(task))
            except Exception as error:
                result = failed(task, error)
            yield result
        if commands:
            yield from self._run(commands)
        if others:
            yield from self.otherwise().run(others)

    def _run(self, tasks: Sequence[ProxySpec]) -> Iterator[Result]:
        with ExitStack() as until_done:
            child = Child("regmix_pipeline.proxies.commands.driver", {}, tidy=True)
            until_done.callback(child.stop)
            child.tell(
                {
                    "settings": self.settings.model_dump(mode="json"),
                    "at_once": self.at_once,
                    "tasks": [task.model_dump(mode="json") for task in tasks],
                }
            )
            yield from results_of(
                child,
                tasks,
                self.say,
                "the process that runs the commands",
                where="proxies.trainer",
                remedy="run again: finished proxies are kept, and commands that go on are waited for",
            )


def read_loss(task: EvaluationSpec) -> dict[str, Any]:
    """The loss on a target that a command reported, as an evaluation; also written to ``task.output``.

    Raises:
        ProxyError: the finished proxy was altered, or its command did not measure this target.
    """
    require_intact(task.proxy)
    losses = Reported.model_validate(read_json(task.proxy / REPORTED)).losses
    if task.target not in losses:
        raise ProxyError(
            f"its command reported no loss on {task.target}",
            where=f"proxy {task.proxy.name}",
            remedy="run again: the proxies are trained for today's targets",
        )
    value = {
        "id": task.id,
        "proxy": task.proxy.name,
        "target": task.target,
        "target_version": task.tokens.measure_version,
        **loss_fields(losses[task.target].model_dump()),
    }
    write_evaluation(task.output, value)
    return value
