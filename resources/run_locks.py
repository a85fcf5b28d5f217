"""Which of a home's Dagster runs are dead: each process at work on a run holds a lock, and loses it when it dies.

Dagster itself takes a run for alive until somebody reports its end. A process that was killed reports nothing: its run
would keep its place among the runs at work forever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from filelock import FileLock

from regmix_pipeline.engine.home_lock import Process
from regmix_pipeline.progress import Say

FOLDER = "run-locks"
"""Folder of the Dagster instance that holds a lock and a note for each run at work."""
HOST_TAG, BOOT_TAG = "regmix/host", "regmix/boot"
"""Run tags: the machine that a run was launched from."""
LOCKED_TAG = "regmix/locked"
"""Run tag: ``yes`` for a run that does not begin before its process holds the lock."""
KILLED = "the process of this run was killed; the next run continues"
_ENDED_BY_US = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class State(Enum):
    """What can be known of a run that Dagster takes for unfinished."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class RunLock:
    """The lock of one run.

    Args:
        root: folder of the Dagster instance.
        run: the run's id.
    """

    def __init__(self, root: Path | str, run: str) -> None:
        self._lock, self._note = Path(root, FOLDER, f"{run}.lock"), Path(root, FOLDER, f"{run}.json")

    def take(self, command: str = "") -> int:
        """Take the lock for as long as the returned descriptor is open; a child process does not inherit it."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        Process.this(command).write(self._note)
        return descriptor

    @contextmanager
    def held(self, command: str = "") -> Iterator[None]:
        """Hold the lock, and leave nothing of it behind; after an error it stays, and shows that the run is dead."""
        descriptor = self.take(command)
        try:
            yield
            self.remove()
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Delete the lock and its note."""
        for path in (self._note, self._lock):
            path.unlink(missing_ok=True)

    @property
    def holder(self) -> Process | None:
        """Who took the lock last."""
        return Process.read(self._note)

    @property
    def state(self) -> State | None:
        """What the lock says of its run; None if no process has taken it yet."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return State.ALIVE
        finally:
            os.close(descriptor)
        holder = self.holder
        if holder is None or holder.is_of_this_boot or holder.was_before_a_restart:
            return State.DEAD
        # Disks shared by machines do not all carry locks from one to the other.
        return State.UNKNOWN


def state_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> State:
    """Whether the process of an unfinished run lives."""
    known = RunLock(instance.root_directory, run.run_id).state
    if known is not None:
        return known
    if run.tags.get(LOCKED_TAG) == "yes":
        return State.DEAD
    # Launched from the UI, and too young to have taken its lock: it dies with the code server that starts it.
    launched = Process("", 0, run.tags.get(HOST_TAG, ""), Process.this("-").machine, run.tags.get(BOOT_TAG, ""), "")
    if launched.was_before_a_restart:
        return State.DEAD
    if launched.is_of_this_boot and run.status is dg.DagsterRunStatus.STARTING and GRPC_INFO_TAG in run.tags:
        return State.ALIVE if _answers(run.tags[GRPC_INFO_TAG]) else State.DEAD
    return State.UNKNOWN


def end_dead_runs(instance: dg.DagsterInstance, say: Say) -> list[str]:
    """Report the runs whose processes were killed as failed; returns their ids.

    Runs that wait in the queue are left alone, and so are those of which it cannot be known whether they live.
    """
    root = Path(instance.root_directory)
    ended = []
    with FileLock(root / f".{FOLDER}.lock"):
        for run in instance.get_runs(dg.RunsFilter(statuses=_ENDED_BY_US)):
            state = state_of(instance, run)
            if state is State.DEAD:
                end_run(instance, run, KILLED)
                ended.append(run.run_id)
                say(f"Dagster run {run.run_id[:8]} ({what_of(run)}): {KILLED}")
            elif state is State.UNKNOWN and run.status is not dg.DagsterRunStatus.NOT_STARTED:
                holder = RunLock(root, run.run_id).holder
                where = f"of {holder}" if holder else "whose process is not known"
                say(
                    f"Dagster run {run.run_id[:8]} ({what_of(run)}), {where}: it cannot be seen from here whether it "
                    "is alive. It is left as it is; if it is dead, terminate it in the Dagster UI"
                )
        _sweep(instance, root / FOLDER)
    return ended


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str, *, canceled: bool = False) -> None:
    """Report that a run has ended, unless that is known, and delete its lock."""
    if not run.is_finished:
        (instance.report_run_canceled if canceled else instance.report_run_failed)(run, why)
    RunLock(instance.root_directory, run.run_id).remove()


def what_of(run: dg.DagsterRun) -> str:
    """What a run makes, in words."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ", ".join(assets[:3]) + ("…" if len(assets) > 3 else "") if assets else run.job_name


def _sweep(instance: dg.DagsterInstance, folder: Path) -> None:
    """Delete the locks of finished runs: a process of the UI holds its lock until it ends, and cannot delete it."""
    for path in folder.glob("*.lock"):
        lock = RunLock(folder.parent, path.stem)
        if lock.state is State.ALIVE:
            continue
        run = instance.get_run_by_id(path.stem)
        # A run that is not there yet is being created by whoever holds its lock.
        if run is not None and run.is_finished:
            lock.remove()


def _answers(grpc_info: str) -> bool:
    """Whether the code server that a run was given to is there."""
    place = json.loads(grpc_info)
    client = DagsterGrpcClient(
        host=place.get("host"), port=place.get("port"), socket=place.get("socket"), use_ssl=bool(place.get("use_ssl"))
    )
    with contextlib.suppress(Exception):
        client.ping("regmix")
        return True
    return False
