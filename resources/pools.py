"""Who a run waits for: slots of Dagster's pools are claimed in silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from regmix_pipeline.home_lock import SPEAK_EVERY
from regmix_pipeline.progress import Say, clock
from resources.run_locks import RunLock, end_dead_runs, what_of

FIRST_LOOK, LOOK_EVERY = 1.0, 3.0
"""Seconds until it is asked whether the run waits, and between two such questions."""


@contextmanager
def waiting_told(instance: dg.DagsterInstance, run: str, say: Say) -> Iterator[None]:
    """Say whose slot a run of this process waits for, and for how long; end the holder if its process is dead."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(instance, run, say, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(instance: dg.DagsterInstance, run: str, say: Say, ended: threading.Event) -> None:
    if not instance.event_log_storage.supports_global_concurrency_limits:
        return
    started, told = time.monotonic(), -SPEAK_EVERY
    pause = FIRST_LOOK
    while not ended.wait(pause):
        pause = LOOK_EVERY
        waits_for = _waits_for(instance, run)
        if waits_for is None:
            return
        pool, holders = waits_for
        waited = time.monotonic() - started
        if waited - told >= SPEAK_EVERY:
            told = waited
            say(f"waiting for a slot of Dagster's pool {pool!r}, held by {holders}; for {clock(waited)} now")
        end_dead_runs(instance, lambda line: None)


def _waits_for(instance: dg.DagsterInstance, run: str) -> tuple[str, str] | None:
    """The pool that a run waits for, and the runs that hold its slots in words; None if it does not wait."""
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        if run in info.pending_run_ids:
            return pool, ", ".join(_words(instance, each) for each in sorted(info.active_run_ids)) or "nobody now"
    return None


def _words(instance: dg.DagsterInstance, run: str) -> str:
    found, holder = instance.get_run_by_id(run), RunLock(instance.root_directory, run).holder
    what = f", {what_of(found)}" if found is not None else ""
    return f"run {run[:8]}{what}" + (f", of {holder}" if holder else "")
