"""A task on another machine: its shards from the store, its result into the store.

The same training as at home. What differs is where files are, and that is not part of a proxy's identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.evaluations import measured
from regmix_pipeline.proxies.integrity import set_aside
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.stack.units import Outcome
from regmix_pipeline.proxies.workers.store import Store, folders_of
from regmix_pipeline.proxies.workers.watch import Watch, is_past_landmark, snapshot_place


@dataclass(frozen=True)
class Through:
    """A `worker.TaskFiles` behind a store.

    Attributes:
        store: where shards come from, and results go.
        cache: folder of this machine that all files are in meanwhile.
    """

    store: Store
    cache: Path

    def do(self, task: ProxySpec | EvaluationSpec) -> Mapping[str, Any]:
        """See `worker.TaskFiles`."""
        return done_through(self.store, task, self.cache)

    def do_stack(self, specs: Sequence[ProxySpec], stack: int | None) -> dict[str, Outcome]:
        """See `worker.TaskFiles`."""
        from regmix_pipeline.proxies.stack.train import train_in_stacks

        return _trained(self.store, specs, self.cache, lambda here: train_in_stacks(here, stack))


def done_through(store: Store, task: ProxySpec | EvaluationSpec, cache: Path, worker: int = 0) -> Mapping[str, Any]:
    """Do a task with all files in this machine's cache, and leave the result in the store.

    Returns:
        What `proxy.json`, or the evaluation's file, holds.
    """
    from regmix_pipeline.proxies.train import train_proxy

    if isinstance(task, EvaluationSpec):
        return _evaluated(store, task, cache, worker)
    outcome = _trained(store, [task], cache, lambda here: {task.id: train_proxy(here[0], worker)})[task.id]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _trained(
    store: Store,
    specs: Sequence[ProxySpec],
    cache: Path,
    train: Callable[[Sequence[ProxySpec]], Mapping[str, Outcome]],
) -> dict[str, Outcome]:
    """Proxy id -> its outcome; what was trained is in the store."""
    found: dict[str, Outcome] = {}
    here: list[ProxySpec] = []
    for spec in specs:
        try:
            there = store.record_of(spec)
            if there is None:
                here.append(brought_here(store, spec, cache))
            else:
                found[spec.id] = there
        except Exception as error:
            found[spec.id] = error
    if not here:
        return found
    with Watch(store, here):
        found |= train(here)
    for spec in here:
        try:
            if not isinstance(found[spec.id], Exception):
                hand_over(store, spec)
        except Exception as error:
            found[spec.id] = error
    return found


def brought_here(store: Store, spec: ProxySpec, cache: Path) -> ProxySpec:
    """The same proxy with all its files in this machine's cache, and its last snapshot, if another machine left one.

    A snapshot past the landmark is of use only beside the landmark's folder, which no later step writes: where neither
    this machine nor the store has that, the training starts again.

    Raises:
        TokenError: the store does not hold its shards.
        ProxyError: the store does not hold the model of earlier phases that it goes on from.
    """
    here = spec.model_copy(
        update={
            "folder": cache / spec.folder.name,
            "start": start_here(store, spec.start, cache),
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


def start_here(store: Store, start: ProxySpec | None, cache: Path) -> ProxySpec | None:
    """The model of earlier phases that a proxy goes on from, finished and in this machine's cache.

    Raises:
        ProxyError: the store does not hold it.
    """
    if start is None:
        return None
    here = start.model_copy(update={"folder": cache / start.folder.name})
    if not here.is_finished:
        store.get_proxy(here.output)
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
