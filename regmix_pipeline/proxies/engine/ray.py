"""Proxies as tasks of a Ray cluster: plain Ray, a task a proxy, fractions of a GPU where there are GPUs.

A worker or a node that dies gives its tasks back to Ray, which runs them elsewhere; they continue from their last
snapshot. A driver that dies takes its tasks along; run again, it finds what was finished and continues the rest.
"""

from __future__ import annotations

import importlib
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.engine.settings import EngineSettings
from regmix_pipeline.proxies.trainer import WORKER_SETTINGS, Result, Task, line_of, result_of, settled, where_of

RETRIES = 8
"""Times that Ray runs a task again whose worker or node died."""
WAITING_PER_CPU = 4
"""Tasks handed to Ray beyond what runs: enough to keep it busy, few enough to end soon when the driver is stopped."""


class RayTrainer:
    """Tasks on a Ray cluster.

    Args:
        settings: address, what a proxy takes, and the store; without one all nodes share the study's disk.

    Raises:
        ProxyError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.ray = _connected(settings)

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalTrainer.run`."""
        waiting: deque[Task] = deque()
        yield from settled(tasks, waiting.append)
        if waiting:
            yield from self._work(waiting)

    def _work(self, waiting: deque[Task]) -> Iterator[Result]:
        ray, settings = self.ray, self.settings
        remote = ray.remote(_done).options(
            num_cpus=settings.cpus_per_proxy,
            num_gpus=settings.gpus_per_proxy,
            max_retries=RETRIES,
            runtime_env={"env_vars": WORKER_SETTINGS},
        )
        going: dict[Any, Task] = {}
        try:
            while waiting or going:
                room = WAITING_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
                while waiting and len(going) < room:
                    task = waiting.popleft()
                    going[remote.remote(line_of(task), settings.store, settings.cache)] = task
                ready, _ = ray.wait(list(going), num_returns=1, timeout=60)
                for reference in ready:
                    yield self._result(reference, going.pop(reference))
        finally:
            for reference in going:
                ray.cancel(reference, force=True)

    def _result(self, reference: Any, task: Task) -> Result:
        try:
            return result_of(task, self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            problem = f"Ray gave up: {type(error).__name__}"
            remedy = "look at the cluster's log, and run again: finished proxies are kept"
            return Result(task, {}, error=ProxyError(problem, where=where_of(task), remedy=remedy))


def _connected(settings: EngineSettings) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ProxyError(
            "Ray is not installed", where="proxies.engine.kind", remedy="pip install 'regmix-pipeline[ray]'"
        ) from error
    if not ray.is_initialized():
        _need_answer(settings.address)
        try:
            ray.init(address=settings.address or "auto", logging_level="warning", log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise _no_answer(settings.address or "this machine", error) from error
    return ray


def _need_answer(address: str | None) -> None:
    """Raise at once where nobody listens: Ray itself tries for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str | None, error: Exception) -> ProxyError:
    return ProxyError(
        f"no Ray cluster answers at {address}: {error}",
        where="proxies.engine.address",
        remedy="start one (ray start --head), or give its address",
    )


def _done(line: dict[str, Any], store: str | None, cache: str) -> dict[str, Any]:
    """On the worker: the same as a local worker does, through the store where there is one."""
    from regmix_pipeline.proxies.engine.remote import done_through
    from regmix_pipeline.proxies.engine.store import Store
    from regmix_pipeline.proxies.worker import answer, done_here, prepare_torch

    prepare_torch()
    if store is None:
        return answer(line, done_here)
    return answer(line, lambda task: done_through(Store(store), task, Path(cache).expanduser()))
