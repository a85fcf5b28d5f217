"""The executor that a study, or the environment, asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError, StudyError
from regmix_pipeline.proxies.evaluations import read_evaluation, write_evaluation
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, TokenFile
from regmix_pipeline.proxies.workers.failed import failed
from regmix_pipeline.proxies.workers.local import LocalExecutor, Result, Task, TaskExecutor, commands_at_once
from regmix_pipeline.proxies.workers.store import Store, folders_of
from regmix_pipeline.study.settings.trainer import TrainerSettings
from regmix_pipeline.study.settings.workers import EngineSettings

RAY_LOG = "ray.log"
"""File of a home that takes what Ray prints while proxies are trained or measured there."""


def executor_of(workspace: Workspace) -> TaskExecutor:
    """Local processes or a Ray cluster, behind a store where one is given.

    Raises:
        StudyError: a variable of the environment is wrong.
        ProxyError: a setting is wrong.
    """
    settings, trainer = workspace.study.proxies.engine.overridden(), workspace.study.proxies.trainer
    if trainer is not None or settings.kind == "slurm":
        return _commands(workspace, settings, trainer)
    if settings.kind == "ray":
        from regmix_pipeline.proxies.workers.ray import RayExecutor

        executor: TaskExecutor = RayExecutor(settings, workspace.say, workspace.home / RAY_LOG)
    else:
        executor = local_executor(workspace, settings)
    return executor if settings.store is None else ThroughStore(executor, Store(settings.store))


def _commands(workspace: Workspace, settings: EngineSettings, trainer: TrainerSettings | None) -> TaskExecutor:
    """The executor of a study whose proxies a command trains. Raises StudyError where the engine does not fit."""
    if trainer is None or settings.kind == "ray" or settings.store is not None:
        raise StudyError(
            "slurm runs the commands of proxies.trainer, and the study has none"
            if trainer is None
            else "a trainer's commands run on this machine or on Slurm, on a disk that all machines share",
            where="proxies.engine or REGMIX_ENGINE, REGMIX_STORE",
            remedy="choose kind local or slurm and no store" if trainer is not None else "choose kind local or ray",
        )
    from regmix_pipeline.proxies.commands.executor import CommandExecutor

    at_once = workspace.workers or commands_at_once(workspace.study, settings)
    return CommandExecutor(settings, at_once, lambda: local_executor(workspace, settings), workspace.say)


def local_executor(workspace: Workspace, settings: EngineSettings) -> LocalExecutor:
    """Processes of this machine, as the settings say."""
    return LocalExecutor(workspace.workers, settings.stack, settings.gpus_per_model, settings.divide)


def executor_here(workspace: Workspace) -> TaskExecutor:
    """Processes of this machine, whatever the study's engine: for a slice, which has its machine already."""
    trainer = workspace.study.proxies.trainer
    if trainer is None:
        return local_executor(workspace, workspace.study.proxies.engine.overridden())
    return _commands(workspace, EngineSettings(), trainer)


class ThroughStore:
    """A executor whose results are also in a store: what is there is fetched, what is made here or there is put there.

    Args:
        executor: does what the store does not hold.
        store: where shards and finished proxies are.
    """

    def __init__(self, executor: TaskExecutor, store: Store) -> None:
        self.executor, self.store = executor, store
        self._tokens: set[Path] = set()

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalExecutor.run`; every result is in the study's home before it is yielded.

        What the store or a file spoils for one task is the error of its result; the others go on.
        """
        ready: list[Task] = []
        for task in {str(task.output): task for task in tasks}.values():
            try:
                self._prepare(task)
            except Exception as error:
                result = failed(task, error)
            else:
                ready.append(task)
                continue
            yield result
        for result in self.executor.run(ready):
            yield self._stored(result)

    def _prepare(self, task: Task) -> None:
        """Fetch what the store holds of a task, or put there what the task needs."""
        if isinstance(task, ProxySpec):
            self._fetch(task)
            if not task.is_finished:
                self._put_tokens([*task.shards.values(), *task.targets.values()])
                if task.start is not None:
                    self.store.put_missing(task.start.output)
        elif read_evaluation(task.output) is None:
            self._put_tokens([task.tokens])
            self.store.put_missing(task.proxy)

    def _fetch(self, spec: ProxySpec) -> None:
        """Bring home a proxy that the store holds; one that is damaged there is dropped there, and trained again."""
        missing = [each for each in folders_of(spec) if not each.is_finished]
        if missing and self.store.has_proxy(spec):
            with contextlib.suppress(ProxyError):
                for each in missing:
                    self.store.get_proxy(each.output)

    def _put_tokens(self, files: Iterable[TokenFile]) -> None:
        for file in files:
            if file.path not in self._tokens:
                self.store.put_tokens([file])
                self._tokens.add(file.path)

    def _stored(self, result: Result) -> Result:
        """The same result, at home and in the store; or its error."""
        if result.error is not None:
            return result
        try:
            self._store(result.task, result)
        except Exception as error:
            return failed(result.task, error)
        return result

    def _store(self, task: Task, result: Result) -> None:
        if isinstance(task, EvaluationSpec):
            if read_evaluation(task.output) is None:
                write_evaluation(task.output, result.value)
            return
        for each in folders_of(task):
            if each.is_finished:
                self.store.put_missing(each.output)
            # A proxy that was at home before anyone asked for its landmark has none.
            elif each is task or self.store.has_folder(each.output):
                self.store.get_proxy(each.output)
