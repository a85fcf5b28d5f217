"""Train and evaluate proxies in worker processes, several at once, each result as soon as it is there.

The seam between the pipeline and the machine: anything with this `run` could take its place, on a cluster for instance.
Tasks are idempotent and their results are files, so a run that was killed is simply run again.
"""

from __future__ import annotations

import errno
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from regmix_pipeline.errors import DamagedError, ProxyError, RegmixError, error_from_payload
from regmix_pipeline.extras import require
from regmix_pipeline.files import read_json
from regmix_pipeline.processes import Child, answers, how_it_ended
from regmix_pipeline.progress import Say
from regmix_pipeline.proxies.evaluations import read_evaluation
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stack.units import AUTOMATIC, in_stacks, shape_of
from regmix_pipeline.study.settings.workers import EngineSettings
from regmix_pipeline.study.study import Study

Task = ProxySpec | EvaluationSpec

STACK = "stack"
"""Kind of a line that holds several proxies."""
JOBS = 100
"""Jobs of Slurm that are queued or at work at once, unless the study says how many."""
PROXIES_PER_GPU = 4
"""Workers per CUDA device: a small proxy alone leaves most of it idle."""


@dataclass(frozen=True)
class Result:
    """What became of a task.

    Attributes:
        task: the task.
        value: what `proxy.json` or the evaluation's file holds; empty after an error.
        seconds: time in the worker; 0 for what existed.
        reused: whether it existed before.
        error: why there is no value.
    """

    task: Task
    value: Mapping[str, Any]
    seconds: float = 0.0
    reused: bool = False
    error: RegmixError | None = None


class TaskExecutor(Protocol):
    """Whoever does tasks: processes on this machine, a cluster."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Do the tasks; yield a result for each as it is there. Equal tasks are done once and yielded once."""
        ...


def finished_results(tasks: Iterable[Task], leave: Callable[[Task], None]) -> Iterator[Result]:
    """Results of the tasks that were done before, each once; the others go to ``leave``, each once."""
    for task in {_key(task): task for task in tasks}.values():
        value = finished(task)
        if value is None:
            leave(task)
        else:
            if isinstance(task, ProxySpec):  # left by a kill between the last write and its deletion
                task.snapshot.unlink(missing_ok=True)
            yield Result(task, value, reused=True)


def default_workers() -> int:
    """Workers that fill this machine: four per CUDA device, or one per CPU core this process may use."""
    return devices_here() * PROXIES_PER_GPU or len(os.sched_getaffinity(0))


def stacking_workers(stack: int | None) -> int:
    """The same where proxies are stacked: one per CUDA device."""
    devices = devices_here()
    return devices if devices and most_in_stack(stack, devices) > 1 else default_workers()


def commands_at_once(study: Study, engine: EngineSettings | None = None) -> int:
    """Commands of the study's own trainer that run at once where nobody says how many: one for each CUDA device, or
    one, as each may use all of the machine; on Slurm so many jobs."""
    kind = (engine or study.proxies.engine).kind
    return JOBS if kind == "slurm" else max(1, devices_here())


def models_at_once(devices: int, gpus: int) -> int:
    """Models that train at once on so many devices where each takes ``gpus`` of them, or all if there are fewer."""
    return max(1, devices // gpus)


def devices_here() -> int:
    """CUDA devices of this machine that this process may use."""
    devices = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = min(devices, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))
    return devices


def finished(task: Task) -> dict[str, Any] | None:
    """The value of a task that was done before, or None."""
    if isinstance(task, ProxySpec) and not task.is_finished:
        return None
    if isinstance(task, EvaluationSpec):
        return read_evaluation(task.output)
    path = task.output / "proxy.json"
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except DamagedError:  # a proxy without its record is not finished
        path.unlink(missing_ok=True)
        return None


class LocalExecutor:
    """Worker processes on this machine, with one thread each.

    Args:
        workers: processes; default `default_workers`, and one for each CUDA device where proxies are stacked.
        stack: see `EngineSettings.stack`.
        gpus: see `EngineSettings.gpus_per_model`.
        divide: see `EngineSettings.divide`.
    """

    def __init__(
        self, workers: int | None = None, stack: int | None = 1, gpus: int = 1, divide: bool | None = None
    ) -> None:
        if workers is not None and workers < 1:
            raise ProxyError(f"{workers} workers", where="proxies.workers", remedy="give 1 or more")
        self.workers = workers or default_workers()
        self.stack = stack
        self.gpus, self.divide = gpus if devices_here() > 1 else 1, divide
        self._stacking = workers or stacking_workers(stack)

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Do the tasks; yield a result for each, finished ones first, the others in the order in which they end.

        A task that fails, or whose worker is killed, gives a result with an error; the others go on. Closing the
        iterator stops the workers. Equal tasks are done once and yielded once.
        """
        waiting: list[Task] = []
        yield from finished_results(tasks, waiting.append)
        if waiting:
            require("torch", where_of(waiting[0]))
        units = in_stacks(waiting, most_in_stack(self.stack, devices_here()), self._stacking, shape_of)
        workers = self.workers if all(len(unit) == 1 for unit in units) else self._stacking
        if self.gpus > 1 and any(len(unit) == 1 and isinstance(unit[0], ProxySpec) for unit in units):
            workers = models_at_once(devices_here(), self.gpus)
        lines = partial(line_of_unit, stack=self.stack, gpus=self.gpus, divide=self.divide)
        with closing(answers("regmix_pipeline.proxies.workers.worker", units, lines, workers)) as found:
            for unit, answer, code in found:
                if answer is None:
                    yield from (_dead(task, code) for task in unit)
                else:
                    yield from map(result_of, unit, answers_to(len(unit), answer))


def most_in_stack(stack: int | None, gpus: float) -> int:
    """Proxies at most that a worker is given at once; `AUTOMATIC` where it chooses and has a GPU."""
    return stack if stack is not None else AUTOMATIC if gpus else 1


def _dead(task: Task, code: int) -> Result:
    """Of a task whose worker died: it may have been finished before another of its stack was."""
    value = finished(task)
    return Result(task, {}, error=_death(task, code)) if value is None else Result(task, value)


def _death(task: Task, code: int) -> ProxyError:
    memory = code == -signal.SIGKILL
    remedy = "run again; if memory ran out, use fewer workers" if memory else "the worker's log is above; run again"
    return ProxyError(f"the worker process {how_it_ended(code)}", where=where_of(task), remedy=remedy)


def _key(task: Task) -> tuple[str, str]:
    return type(task).__name__, str(task.output)


def where_of(task: Task) -> str:
    """What a task is about, for messages."""
    if isinstance(task, ProxySpec):
        return f"proxy {task.id} of mixture {task.exact_mixture.id}"
    return f"proxy {task.proxy.name} on {task.target}"


def line_of(task: Task) -> dict[str, Any]:
    """A task as JSON for another process, where `worker.task_of` reads it."""
    return {"kind": type(task).__name__, "spec": task.model_dump(mode="json"), "where": where_of(task)}


def line_of_unit(
    unit: Sequence[Task], stack: int | None, gpus: int = 1, divide: bool | None = None
) -> Mapping[str, Any]:
    """As `line_of`, for several proxies that are stacked, or one over so many GPUs, perhaps divided among them."""
    return {**line_of_lines([line_of(task) for task in unit], stack), "gpus": gpus, "divide": divide}


def line_of_lines(lines: Sequence[Mapping[str, Any]], stack: int | None) -> Mapping[str, Any]:
    """The line of several proxies, from theirs; of one, its own."""
    return lines[0] if len(lines) == 1 else {"kind": STACK, "lines": list(lines), "stack": stack}


def answers_to(number: int, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What another process's `worker.answer` says of each of so many tasks."""
    return [answer] if number == 1 else answer["answers"]


def result_of(task: Task, answer: Mapping[str, Any]) -> Result:
    """The result that another process's `worker.answer` describes."""
    error = error_from_payload(answer["error"], ProxyError, where_of(task)) if "error" in answer else None
    return Result(task, answer.get("value", {}), answer["seconds"], error=error)


def explained(error: Exception, where: str, otherwise: str = "the traceback is in the log") -> RegmixError:
    """An error as one that a user can act on; one that was not has its traceback in the log.

    Args:
        error: the error.
        where: what it befell.
        otherwise: the remedy where neither memory, nor the disk, nor a file is to blame.
    """
    if isinstance(error, RegmixError):
        return error
    remedy = _remedy(error)
    if remedy is None:
        traceback.print_exception(error)
    return ProxyError(f"{type(error).__name__}: {error}", where=where, remedy=remedy or otherwise)


def _remedy(error: Exception) -> str | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    # On a CPU torch has no class of its own for it.
    if kinds & {"MemoryError", "OutOfMemoryError"} or "can't allocate memory" in str(error):
        return "use fewer workers or a smaller model"
    if os.strerror(errno.ENOSPC) in str(error):  # an OSError, or safetensors' own
        return "free disk space and run again: finished proxies are kept"
    if isinstance(error, OSError):
        return "see the message; restore the file or its permissions, and run again: finished proxies are kept"
    return None


def results_of(
    child: Child, tasks: Sequence[Task], say: Say, name: str, *, where: str, remedy: str
) -> Iterator[Result]:
    """Results of tasks that a process of our own hands on, in the order in which they end.

    Args:
        child: the process, which was given the tasks.
        tasks: the tasks, by whose number it answers.
        say: called with what it reports besides.
        name: what the process is called, where and remedy: of the error that it ended.

    Raises:
        ProxyError: it ended, or refuses the tasks.
    """
    left = len(tasks)
    while left:
        answer = child.answer()
        if answer is None:
            raise ProxyError(f"{name} {how_it_ended(child.end())}", where=where, remedy=remedy)
        if "refused" in answer:
            raise error_from_payload(answer["refused"], ProxyError)
        if "said" in answer:
            say(answer["said"])
        else:
            left -= 1
            yield result_of(tasks[answer["task"]], answer["answer"])
