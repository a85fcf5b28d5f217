"""A Ray cluster: connected to in one place, and asked whether a task has room there, for which Ray waits forever."""

from __future__ import annotations

import importlib
import logging
import math
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regmix_pipeline.errors import RegmixError
from regmix_pipeline.progress import Say, clock, to_stderr

LOOK_EVERY = 2.0
"""Seconds between two looks at what is free."""
SPEAK_EVERY = 30.0
"""Seconds between two lines about waiting for room."""
QUIET_SPEAK_EVERY = 600.0
"""The same once there was room: by then the tasks that take it are most often one's own."""
NODES_MAY_BE_GONE = 600.0
"""Seconds for which nodes that were there may be gone before a task is taken for one that never finds room."""
GB = 1 << 30


@dataclass(frozen=True)
class Need:
    """What a task takes of one node.

    Attributes:
        resource: Ray's name for it: ``CPU``, ``GPU`` or ``memory``.
        amount: cores, devices, or bytes.
        setting: the study's field that says so.
    """

    resource: str
    amount: float
    setting: str

    def in_words(self, amount: float) -> str:
        """An amount as a person reads it: ``4 CPUs``, ``1.5 GB of memory``."""
        unit = "GB of memory" if self.resource == "memory" else f"{self.resource}{'' if amount == 1 else 's'}"
        return f"{self.number(amount)} {unit}"

    def number(self, amount: float) -> str:
        """``4``, ``1.5``; memory in GB, rounded down, so that what is too little never looks like enough."""
        return f"{math.floor(amount / GB * 100) / 100:g}" if self.resource == "memory" else f"{amount:g}"


class Cluster:
    """A connection to a Ray cluster, for tasks that all take the same.

    Args:
        address: the cluster's address; None for the one that this process belongs to or finds on its machine.
        needs: what a task takes; nothing of what has the amount 0.
        wait_for_nodes: seconds that a node with room for a task may take to come up.
        fields: the study's settings of it, ``proxies.engine`` or ``shards.executor``.
        error: the kind of error that is raised.
        say: called when there is no room.

    Raises:
        RegmixError: Ray is not installed, or no cluster answers.
    """

    def __init__(
        self,
        address: str | None,
        needs: Sequence[Need],
        wait_for_nodes: float,
        fields: str,
        error: type[RegmixError],
        say: Say = to_stderr,
    ) -> None:
        self.needs = [need for need in needs if need.amount]
        self.fields, self.error, self.say = fields, error, say
        self.wait_for_nodes = wait_for_nodes
        self._at_work = False
        self._spoke = self._without_node = -math.inf
        self.ray = self._connected(address)

    def wait_for_room(self) -> None:
        """Return once a task would find room; say what is free while there is none.

        Raises:
            RegmixError: no node is large enough for a task, and none came within ``wait_for_nodes``.
        """
        from ray.util.placement_group import placement_group, remove_placement_group

        self._at_work, self._spoke = False, -math.inf
        self._need_node()
        # Room is set aside and given back: free amounts of the whole cluster do not say whether one node has them, and
        # a cluster that grows by itself grows for what is asked of it.
        group = placement_group([{need.resource: need.amount for need in self.needs}])
        try:
            while not group.wait(LOOK_EVERY):
                self._look()
        finally:
            remove_placement_group(group)
        self._at_work, self._spoke = True, time.monotonic()

    def look(self) -> None:
        """To be called now and then while tasks are out: a node may have been lost, or others may hold all room.

        Raises:
            RegmixError: as `wait_for_room`, of nodes that have been gone for ten minutes or more.
        """
        if self._need_node() or not self._has_free():
            self._look()

    @property
    def _patience(self) -> float:
        """Seconds for which no node may be large enough."""
        return max(self.wait_for_nodes, NODES_MAY_BE_GONE) if self._at_work else self.wait_for_nodes

    def _look(self) -> None:
        missing = self._need_node()
        now = time.monotonic()
        if now - self._spoke < (QUIET_SPEAK_EVERY if self._at_work else SPEAK_EVERY):
            return
        self._spoke = now
        free, total = self.ray.available_resources(), self.ray.cluster_resources()
        held = ", ".join(
            f"{need.number(free.get(need.resource, 0))} of {need.in_words(total.get(need.resource, 0))} free"
            for need in self.needs
        )
        takes = " and ".join(need.in_words(need.amount) for need in self.needs)
        waiting = "at work or waiting for room" if self._at_work else "waiting for room"
        left = self._patience - (now - self._without_node)
        tail = f"; no node is large enough, and the wait for one ends in {clock(left)}" if missing else ""
        self.say(f"  Ray: {waiting}: {held}; a task takes {takes} of one node{tail}")

    def _need_node(self) -> bool:
        """Whether no node could hold a task, even empty; raise once that has lasted too long."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(all(node.get(need.resource, 0) >= need.amount for need in self.needs) for node in nodes):
            self._without_node = -math.inf
            return False
        now = time.monotonic()
        if self._without_node == -math.inf:
            self._without_node = now
        if now - self._without_node >= self._patience:
            raise self._too_small(nodes)
        return True

    def _too_small(self, nodes: Sequence[dict[str, float]]) -> RegmixError:
        most = {need.resource: max((node.get(need.resource, 0) for node in nodes), default=0) for need in self.needs}
        apart = all(most[need.resource] >= need.amount for need in self.needs)
        lacking = [need for need in self.needs if apart or most[need.resource] < need.amount]
        asked = " and ".join(need.in_words(need.amount) for need in lacking)
        largest = " and ".join(need.in_words(most[need.resource]) for need in lacking)
        return self.error(
            f"no node of the Ray cluster is large enough for a task: it takes {asked} of one node, and the most that "
            f"any has is {largest}{', though no node has both' if apart else ''}",
            where=", ".join(need.setting for need in lacking),
            remedy="ask for less, or add a node that has as much. Where the cluster adds nodes by itself, let "
            f"{self.fields}.wait_for_nodes say how many seconds that may take",
        )

    def _has_free(self) -> bool:
        free = self.ray.available_resources()
        return all(free.get(need.resource, 0) >= need.amount for need in self.needs)

    def _connected(self, address: str | None) -> Any:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise self.error(
                "Ray is not installed", where=f"{self.fields}.kind", remedy="pip install 'regmix-pipeline[ray]'"
            ) from error
        if ray.is_initialized():
            return ray
        host, _, port = (address or "").removeprefix("ray://").rpartition(":")
        try:
            if host and port.isdigit():  # Ray itself tries for minutes where nobody listens
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address or "auto", logging_level=logging.WARNING, log_to_driver=False)
        except (OSError, RuntimeError) as error:
            raise self.error(
                f"no Ray cluster answers at {address or 'this machine'}: {error}",
                where=f"{self.fields}.address",
                remedy="start one (ray start --head), or give its address",
            ) from error
        return ray
