"""A task on another machine: its shards from the store, its result into the store.

The same training as at home. What differs is where files are, and that is not part of a proxy's identity.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.evaluations import measured
from regmix_pipeline.proxies.integrity import set_aside
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.workers.store import Store, folders_of
from regmix_pipeline.proxies.workers.watch import Watch, is_past_landmark, snapshot_place


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

    there = store.record_of(spec)
    if there is not None:
        return there
    here = brought_here(store, spec, cache)
    with Watch(store, [here]):
        value = train_proxy(here, worker)
    hand_over(store, here)
    return value


def brought_here(store: Store, spec: ProxySpec, cache: Path) -> ProxySpec:
    """The same proxy with all its files in this machine's cache, and its last snapshot, if another machine left one.

    A snapshot past the landmark is of use only beside the landmark's folder, which no later step writes: where neither
    this machine nor the store has that, the training starts again.

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
    complete = all(_is_here(store, landmark) for landmark in folders_of(here)[:-1])
    if here.is_finished and not complete:
        set_aside(here.output)
    place = snapshot_place(here)
    if not here.is_finished and not here.snapshot.is_file() and store.has(*place):
        store.get(here.snapshot, *place)
    if not complete and here.snapshot.is_file() and is_past_landmark(here, here.snapshot):
        here.snapshot.unlink()
    return here


def _is_here(store: Store, landmark: ProxySpec) -> bool:
    """Whether the landmark's folder is in this machine's cache, fetched if the store has it."""
    if not landmark.is_finished and store.has_folder(landmark.output):
        with contextlib.suppress(ProxyError):  # damaged, and dropped there: as good as absent
            store.get_proxy(landmark.output)
    return landmark.is_finished


def hand_over(store: Store, here: ProxySpec) -> None:
    """Put a proxy that was finished here into the store, and drop its snapshot there, which nobody may watch any more.

    Raises:
        ProxyError: its weights are not the ones that were written; it is set aside.
    """
    for each in folders_of(here):
        store.put_missing(each.output)
    store.remove(*snapshot_place(here))


def _evaluated(store: Store, task: EvaluationSpec, cache: Path, worker: int) -> dict[str, Any]:
    from regmix_pipeline.proxies.evaluate import evaluate_proxy

    kind = task.proxy.parent.name
    proxy = cache / kind / task.proxy.name
    place = ("evaluations", proxy.name, f"{task.id}.json")
    before = measured(store.read_json(*place)) if store.has(*place) else None
    if before is not None:
        return before
    if not proxy.is_dir():
        store.get_proxy(proxy)
    here = task.model_copy(
        update={
            "proxy": proxy,
            "tokens": store.cached_tokens(task.tokens, cache),
            "folder": cache / "evaluations" / proxy.name,
        }
    )
    value = evaluate_proxy(here, worker)
    store.put(here.output, *place)
    return value
