"""A task on another machine: its shards from the store, its result into the store.

The same training as at home. What differs is where files are, and that is no part of a proxy's identity.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from regmix_pipeline.files import read_json
from regmix_pipeline.proxies.engine.store import Store
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec

LOOK_SECONDS = 5.0
"""Between looks for a new snapshot to put into the store."""


def done_through(store: Store, task: ProxySpec | EvaluationSpec, cache: Path, worker: int = 0) -> dict[str, Any]:
    """Do a task with all files in this machine's cache, and leave the result in the store.

    Returns:
        What `proxy.json`, or the evaluation's file, holds.
    """
    if isinstance(task, EvaluationSpec):
        return _evaluated(store, task, cache, worker)
    return _trained(store, task, cache, worker)


def _trained(store: Store, spec: ProxySpec, cache: Path, worker: int) -> dict[str, Any]:
    from regmix_pipeline.proxies.train import train_proxy

    if store.has_proxy(spec):
        return store.read_json(spec.folder.name, spec.id, "proxy.json")
    here = brought_here(store, spec, cache)
    with snapshots_put(store, [here]):
        value = train_proxy(here, worker)
    hand_over(store, here)
    return value


def brought_here(store: Store, spec: ProxySpec, cache: Path) -> ProxySpec:
    """The same proxy with all its files in this machine's cache, and its last snapshot, if another machine left one.

    Raises:
        TokenError: the store does not hold its shards.
    """
    here = spec.model_copy(
        update={
            "folder": cache / spec.folder.name,
            "shards": {name: store.cached_tokens(file, cache) for name, file in spec.shards.items()},
            "targets": {name: store.cached_tokens(file, cache) for name, file in spec.targets.items()},
        }
    )
    place = _snapshot_of(here)
    if not here.is_finished and not here.snapshot.is_file() and store.has(*place):
        store.get(here.snapshot, *place)
    return here


def hand_over(store: Store, here: ProxySpec) -> None:
    """Put a proxy that was finished here into the store, and drop its snapshot there."""
    if here.landmark is not None:
        store.put_proxy(here.model_copy(update={"stop_at": here.landmark, "landmark": None}).output)
    store.put_proxy(here.output)
    store.remove(*_snapshot_of(here))


@contextlib.contextmanager
def snapshots_put(store: Store, specs: Sequence[ProxySpec]) -> Iterator[None]:
    """Put every new snapshot into the store, so that a training whose machine is lost goes on at another."""
    ended = threading.Event()

    def watch() -> None:
        seen = {spec.id: _time_of(spec.snapshot) for spec in specs}
        while not ended.wait(LOOK_SECONDS):
            for spec in specs:
                now = _time_of(spec.snapshot)
                if now and now != seen[spec.id]:
                    # Finished, or replaced by a newer one, meanwhile: the next look finds that.
                    with contextlib.suppress(FileNotFoundError):
                        store.put(spec.snapshot, *_snapshot_of(spec))
                        seen[spec.id] = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _snapshot_of(spec: ProxySpec) -> tuple[str, str]:
    return spec.folder.name, spec.snapshot.name


def _time_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0


def _evaluated(store: Store, task: EvaluationSpec, cache: Path, worker: int) -> dict[str, Any]:
    from regmix_pipeline.proxies.evaluate import evaluate_proxy

    kind = task.proxy.parent.name
    proxy = cache / kind / task.proxy.name
    if not proxy.is_dir():
        store.get_proxy(proxy)
    place = ("evaluations", proxy.name, f"{task.id}.json")
    if store.has(*place):
        return store.read_json(*place)
    here = task.model_copy(
        update={
            "proxy": proxy,
            "tokens": store.cached_tokens(task.tokens, cache),
            "folder": cache / "evaluations" / proxy.name,
        }
    )
    evaluate_proxy(here, worker)
    store.put(here.output, *place)
    return read_json(here.output)
