"""Train several proxies of one shape as one program: the specs in, a whole folder out of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from filelock import FileLock, Timeout

from regmix_pipeline.files import read_json
from regmix_pipeline.progress import Say, to_nobody
from regmix_pipeline.proxies.device import device_of
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.size import best_size
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.stack.units import Outcome, in_stacks, shape_of
from regmix_pipeline.proxies.train import Stopwatch, TrainingRun, starting_again_after_errors, train_proxy, train_start


def train_in_stacks(
    specs: Sequence[ProxySpec], stack: int | None, worker: int = 0, say: Say = to_nobody
) -> dict[str, Outcome]:
    """Train proxies of one shape, so many at once as ``stack`` says or this machine is best at.

    Args:
        specs: of one shape.
        stack: how many at once; None tries it on CUDA.
        worker, say: as in `train.train_proxy`.

    Returns:
        Proxy id -> its outcome.
    """
    at_once = best_size(specs, device_of(specs[0].device, worker)) if stack is None else stack
    found: dict[str, Outcome] = {}
    for unit in in_stacks(specs, at_once, 1, shape_of):
        found |= train_stack(unit, worker, say)
    return found


def train_stack(specs: Sequence[ProxySpec], worker: int = 0, say: Say = to_nobody) -> dict[str, Outcome]:
    """Train proxies together, or read the finished ones. What befalls one of them leaves the others alone.

    A proxy whose lock another process holds is not waited for: it is looked at again, alone, when the others are done.

    Args:
        specs: of one shape; each is locked, continues from its own snapshot and is written when it ends.
        worker, say: as in `train.train_proxy`; the first proxy speaks.

    Returns:
        Proxy id -> its outcome.
    """
    found: dict[str, Outcome] = {}
    busy = []
    for spec in specs:
        _outcome_of(spec, found, lambda spec=spec: train_start(spec, worker, say))
    specs = [spec for spec in specs if spec.id not in found]
    with ExitStack() as locks:
        held = []
        for spec in specs:
            spec.lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                locks.enter_context(FileLock(spec.lock).acquire(timeout=0))
            except Timeout:
                busy.append(spec)
            else:
                held.append(spec)
        _Together(held, found).train(worker, say)
    for spec in busy:
        _outcome_of(spec, found, lambda spec=spec: train_proxy(spec, worker, say))
    return found


class _Together:
    """Trainings of one stack, all locked by the caller; outcomes go to ``found``."""

    def __init__(self, specs: Sequence[ProxySpec], found: dict[str, Outcome]) -> None:
        self.specs, self.found = specs, found
        self.stopwatch = Stopwatch()

    def train(self, worker: int, say: Say) -> None:
        going: list[TrainingRun] = []
        for spec in self.specs:
            if spec.is_finished:
                self._try(spec, lambda spec=spec: read_json(spec.output / "proxy.json"))
                continue
            speaks = say if not going else to_nobody

            def begin(spec: ProxySpec = spec, speaks: Say = speaks) -> None:
                device = device_of(spec.device, worker)
                going.append(TrainingRun(spec, device, speaks, self.stopwatch, len(self.specs)))

            self._try(spec, begin)
        stack = None
        while going := [run for run in going if run.spec.id not in self.found]:
            rows = {run.spec.id: self._try_step(run.spec, run.trainer.next_rows) for run in going}
            going = [run for run in going if run.spec.id not in self.found]
            trainers = [run.trainer for run in going]
            if not trainers:
                return
            if stack is None or stack.trainers != trainers:
                stack = Stack(trainers)
            try:
                stack.step([rows[run.spec.id] for run in going])
            except Exception as error:  # of the device, such as its memory: it is nobody's own
                self.found |= {run.spec.id: error for run in going}
                return
            share = self.stopwatch.since_last() / len(going)
            for run in going:
                run.seconds["steps"] += share
            for run in going:
                self._try_step(run.spec, run.after_step)
                if not run.goes_on and run.spec.id not in self.found:
                    self._try(run.spec, run.finished)

    def _try(self, spec: ProxySpec, work: Callable[[], Any]) -> Any:
        return _outcome_of(spec, self.found, work)

    def _try_step(self, spec: ProxySpec, work: Callable[[], Any]) -> Any:
        return self._try(spec, lambda: starting_again_after_errors(spec)(work)())


def _outcome_of(spec: ProxySpec, found: dict[str, Outcome], work: Callable[[], Any]) -> Any:
    """What ``work`` returns; what it raises is the proxy's outcome, and so is a mapping."""
    try:
        value = work()
    except Exception as error:
        found[spec.id] = error
        return None
    if isinstance(value, dict):
        found[spec.id] = value
    return value
