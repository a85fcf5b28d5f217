"""Proxies as tasks of a Ray cluster: plain Ray, a task a proxy, fractions of a GPU where there are GPUs.

A worker or a node that dies gives its tasks back to Ray, which runs them elsewhere; they continue from their last
snapshot. A driver that dies takes its tasks along; run again, it finds what was finished and continues the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.processes import WORKER_SETTINGS
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.proxies.workers.local import Result, Task, finished_results, line_of, result_of, where_of
from regmix_pipeline.ray_cluster import LOOK_EVERY, Cluster, Need
from regmix_pipeline.study.settings.workers import EngineSettings

RETRIES = 8
"""Times that Ray runs a task again whose worker or node died."""
WAITING_PER_CPU = 4
"""Tasks handed to Ray beyond what runs: enough to keep it busy, few enough to end soon when the driver is stopped."""


class RayExecutor:
    """Tasks on a Ray cluster.

    Args:
        settings: address, what a proxy takes, and the store; without one all nodes share the study's disk.
        say: called when the cluster has no room.

    Raises:
        ProxyError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, settings: EngineSettings, say: Say = to_stderr) -> None:
        self.settings = settings
        needs = [
            Need("CPU", settings.cpus_per_proxy, "proxies.engine.cpus_per_proxy"),
            Need("GPU", settings.gpus_per_proxy, "proxies.engine.gpus_per_proxy"),
        ]
        wait = settings.wait_for_nodes
        self.cluster = Cluster(settings.address, needs, wait, "proxies.engine", ProxyError, say)
        self.ray = self.cluster.ray

    def run(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """As `LocalExecutor.run`.

        Raises:
            ProxyError: no node of the cluster is large enough for a proxy.
        """
        waiting: deque[Task] = deque()
        yield from finished_results(tasks, waiting.append)
        if waiting:
            yield from self._work(waiting)

    def _work(self, waiting: deque[Task]) -> Iterator[Result]:
        ray, settings = self.ray, self.settings
        self.cluster.wait_for_room()
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
                ready, _ = ray.wait(list(going), num_returns=1, timeout=LOOK_EVERY)
                if not ready:
                    self.cluster.look()
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


def _done(line: dict[str, Any], store: str | None, cache: str) -> dict[str, Any]:
    """On the worker: the same as a local worker does, through the store where there is one."""
    from regmix_pipeline.proxies.workers.remote import done_through
    from regmix_pipeline.proxies.workers.store import Store
    from regmix_pipeline.proxies.workers.worker import answer, done_here, prepare_torch

    prepare_torch()
    if store is None:
        return answer(line, done_here)
    return answer(line, lambda task: done_through(Store(store), task, Path(cache).expanduser()))
