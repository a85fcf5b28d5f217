"""A slice of a study's proxies, for the tasks of an array job: the n-th of every so many, in an order all agree on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import write_json
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.current import current_specs, pilots, trained_specs
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.failed import failed
from regmix_pipeline.proxies.workers.local import LocalExecutor, Result, TaskExecutor
from regmix_pipeline.proxies.workers.remote import brought_here, hand_over
from regmix_pipeline.proxies.workers.store import Store
from regmix_pipeline.proxies.workers.watch import Watch

TASKS = "tasks.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def parsed_slice(text: str) -> tuple[int, int]:
    """``3/10`` -> (3, 10), the third of ten slices.

    Raises:
        StudyError: it is not that.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise StudyError(
            f"{text!r} is not a slice", where="--slice", remedy="give i/n with i from 1 to n, such as 3/10"
        )
    return int(found[1]), int(found[2])


def specs_to_train(workspace: Workspace) -> list[ProxySpec]:
    """The study's proxies that a slice may train now, by id; with early stopping the pilots, until they are finished.

    Raises:
        LedgerError: the mixtures were not made yet.
    """
    mixtures = current_mixtures(workspace)
    first = pilots(workspace)
    groups = current_specs(workspace, {key: mixtures[key] for key in first} if first else mixtures)
    if first and all(spec.is_finished for group in groups.values() for spec in group):
        groups = trained_specs(workspace, mixtures)
    specs = {spec.id: spec for group in groups.values() for spec in group}
    return [specs[name] for name in sorted(specs)]


def of_slice(specs: Sequence[ProxySpec], number: int, total: int) -> list[ProxySpec]:
    """Every ``total``-th proxy from the ``number``-th, counted from 1."""
    return list(specs[number - 1 :: total])


def publish(workspace: Workspace, store: Store) -> int:
    """Put the list of proxies to train, and their shards, into the store; returns how many."""
    specs = specs_to_train(workspace)
    for start in {spec.start.id: spec.start for spec in specs if spec.start is not None}.values():
        if not start.is_finished:
            raise StudyError(
                "the model of earlier phases that proxies go on from is not trained",
                where="phases",
                remedy="train it first: materialise phase_checkpoints, or `regmix run` up to it",
            )
        store.put_missing(start.output)
    store.put_tokens(file for spec in specs for file in (*spec.shards.values(), *spec.targets.values()))
    path = workspace.path(TASKS)
    write_json(path, [spec.model_dump(mode="json") for spec in specs])
    store.put(path, TASKS)
    return len(specs)


def published(store: Store) -> list[ProxySpec]:
    """The list that `publish` put there.

    Raises:
        StudyError: there is none, or it is not what `publish` writes.
    """
    again = "publish it again where the study is: `regmix train --publish`"
    try:
        specs = [ProxySpec.model_validate(spec) for spec in store.read_json(TASKS)]
    except FileNotFoundError:
        raise StudyError("holds no list of proxies", where=store.address, remedy=again) from None
    except (ValueError, TypeError) as error:
        raise StudyError(f"is not a list of proxies: {error}", where=store.place(TASKS), remedy=again) from None
    for spec in specs:
        for name in _names(spec):
            if not _PLAIN_NAME.fullmatch(name):
                raise StudyError(
                    f"names {name!r}, which is not a plain file name: following it would leave the cache",
                    where=store.place(TASKS),
                    remedy=f"find out who wrote to the store, then {again}",
                )
    return specs


def _names(spec: ProxySpec) -> Iterator[str]:
    """What becomes part of a path in this machine's cache. The list comes from a store that others can write to."""
    yield from (each.folder.name for each in spec.phases)
    for file in (*spec.shards.values(), *spec.targets.values()):
        yield from (file.version, file.path.name)


def train_from(
    store: Store, specs: Sequence[ProxySpec], cache: Path, executor: TaskExecutor | None = None
) -> Iterator[Result]:
    """Train proxies of a published list on this machine; each is in the store before its result is yielded.

    What the store or a file spoils for one proxy is the error of its result; the others go on.
    """
    here: list[ProxySpec] = []
    for spec in specs:
        result = None
        try:
            there = store.record_of(spec)
            if there is None:
                here.append(brought_here(store, spec, cache))
            else:
                result = Result(spec, there, reused=True)
        except Exception as error:
            result = failed(spec, error)
        if result is not None:
            yield result
    with Watch(store, here) as watch:
        for result in (executor or LocalExecutor(stack=None)).run(here):
            yield _handed_over(store, watch, result)


def _handed_over(store: Store, watch: Watch, result: Result) -> Result:
    """The same result with the proxy in the store; or its error."""
    if result.error is not None or not isinstance(result.task, ProxySpec):
        return result
    watch.leave(result.task)
    try:
        hand_over(store, result.task)
    except Exception as error:
        return failed(result.task, error)
    return result
