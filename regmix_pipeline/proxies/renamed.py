"""Proxies of domains that were renamed since: found under their former names, and read in the names of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.changes import Change


def under_former_names(spec: ProxySpec, changes: Sequence[Change]) -> Iterator[ProxySpec]:
    """The same proxy as it was called before the last rename, before the last two, and so on: other ids, same runs."""
    former = spec
    for change in reversed(changes):
        if change.rename is None or change.to is None:
            continue
        before = _renamed(former, {change.to: change.rename})
        if before is not former:
            former = before
            yield former


def _renamed(spec: ProxySpec, names: Mapping[str, str]) -> ProxySpec:
    """The same proxy, and the models that it goes on from, in other names; itself where that changes nothing."""
    start = None if spec.start is None else _renamed(spec.start, names)
    if start is spec.start and not names.keys() & spec.mixture.keys():
        return spec
    return spec.model_copy(
        update={
            "start": start,
            "mixture": renamed_keys(spec.mixture, names),
            "shards": renamed_keys(spec.shards, names),
            "available_windows": renamed_keys(spec.available_windows, names),
        }
    )


def renamed_keys(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same mapping with its keys called as ``names`` says, former name -> name; other keys stay."""
    return {names.get(name, name): value for name, value in values.items()}
