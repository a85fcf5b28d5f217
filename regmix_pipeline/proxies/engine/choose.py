"""The trainer that a study, or the environment, asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from regmix_pipeline.files import write_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.proxies.engine.store import Store
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, TokenFile
from regmix_pipeline.proxies.trainer import LocalTrainer, Result, Task, Trainer


def trainer_of(lab: Lab) -> Trainer:
    """Local processes or a Ray cluster, behind a store where one is given.

    Raises:
        StudyError: a variable of the environment is wrong.
        ProxyError: the engine cannot be reached.
    """
    settings = lab.study.proxies.engine.overridden()
    if settings.kind == "ray":
        from regmix_pipeline.proxies.engine.ray import RayTrainer

        trainer: Trainer = RayTrainer(settings)
    else:
        trainer = LocalTrainer(lab.workers)
    return trainer if settings.store is None else ThroughStore(trainer, Store(settings.store))


class ThroughStore:
    """A trainer whose results are also in a store: what is there is fetched, what is made here or there is put there.

    Args:
        trainer: does what the store does not hold.
        store: where shards and finished proxies are.
    """

    def __init__(self, trainer: Trainer, store: Store) -> None:
        self.trainer, self.store = trainer, store

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalTrainer.run`; every result is in the study's home before it is yielded."""
        asked = list(tasks)
        fetched = [task for task in asked if isinstance(task, ProxySpec) and self._fetched(task)]
        left = [task for task in asked if isinstance(task, EvaluationSpec) or not task.is_finished]
        if left:
            self.store.put_tokens(_tokens_of(left))
            for task in left:
                if isinstance(task, EvaluationSpec) and not task.output.is_file():
                    self._put_missing(task.proxy)
        done = {id(task) for task in fetched}
        for result in self.trainer.run(asked):
            if result.error is None:
                self._settle(result.task, result)
            yield result if id(result.task) not in done else Result(result.task, result.value, reused=True)

    def _fetched(self, spec: ProxySpec) -> bool:
        """Whether the proxy was not here, and now is."""
        if spec.is_finished or not self.store.has_proxy(spec):
            return False
        self.store.get_proxy(spec.output)
        return True

    def _settle(self, task: Task, result: Result) -> None:
        if isinstance(task, ProxySpec):
            if not task.is_finished:
                self.store.get_proxy(task.output)
                if task.landmark is not None:
                    self.store.get_proxy(task.model_copy(update={"stop_at": task.landmark, "landmark": None}).output)
            else:
                self._put_missing(task.output)
        elif not task.output.is_file():
            write_json(task.output, dict(result.value))

    def _put_missing(self, folder: Path) -> None:
        if not self.store.has(folder.parent.name, folder.name, "proxy.json"):
            self.store.put_proxy(folder)


def _tokens_of(tasks: Iterable[Task]) -> Iterator[TokenFile]:
    for task in tasks:
        if isinstance(task, EvaluationSpec):
            yield task.tokens
        else:
            yield from (*task.shards.values(), *task.targets.values())
