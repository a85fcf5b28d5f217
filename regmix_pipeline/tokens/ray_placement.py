"""Tasks of datatrove's Ray executor, placed again where the node is lost that one was being placed on.

datatrove 0.10.1 starts each task in a thread. An exception there, as when the node goes before the task's actor has
answered, is kept in a future that nobody reads: the executor then waits forever.
"""
# ruff: noqa: TID253 - imported by the program that runs an executor alone.

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import datatrove.executor.ray as datatrove_ray
import ray
from datatrove.executor.ray import RankWorker, RayTaskManager, TaskGroup, convert_remote_options_to_bundle
from ray.exceptions import RayError
from ray.util import placement_group, remove_placement_group

ATTEMPTS = 10
"""Times that a task is placed before its part counts as not made."""


class PlacedAgain(RayTaskManager):
    """datatrove's manager of tasks that need one node each."""

    def submit_task(
        self, executor_ref: Any, ranks_to_submit: list[int], remote_options: dict[str, Any]
    ) -> Future[list[Any]]:
        """Place a task once there is room; returns a future of its Ray task, or of what kept it from being placed."""
        placed = self.executor.submit(self._place, executor_ref, ranks_to_submit, remote_options)
        self.pg_futures.append(placed)
        return placed

    def _place(self, executor_ref: Any, ranks: list[int], options: dict[str, Any]) -> list[Any]:
        for attempt in range(ATTEMPTS):
            group = placement_group([convert_remote_options_to_bundle(options)])
            try:
                ray.get(group.ready())
                worker: Any = ray.remote(RankWorker).options(placement_group=group, **options).remote()
                addresses = ray.get([worker.get_node_ip.remote()])
                break
            except RayError:
                # It would hold the room that the next attempt waits for.
                remove_placement_group(group)
                if attempt == ATTEMPTS - 1:
                    raise
        task = worker.run_for_rank.remote(executor_ref, ranks, addresses, 0)
        self.task_to_group[task] = TaskGroup([task], [worker], group, ranks)
        self.timeout_manager.add_task(task)
        return [task]


def place_again() -> None:
    """Let datatrove's Ray executor place tasks so, in this process."""
    datatrove_ray.RayTaskManager = PlacedAgain
