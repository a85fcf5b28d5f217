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
        if change.rename is None or change.to is None or change.to not in former.mixture:
            continue
        names = {change.to: change.rename}
        former = former.model_copy(
            update={
                "mixture": renamed_keys(former.mixture, names),
                "shards": renamed_keys(former.shards, names),
                "available_windows": renamed_keys(former.available_windows, names),
            }
        )
        yield former


def renamed_keys(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same mapping with its keys called as ``names`` says, former name -> name; other keys stay."""
    return {names.get(name, name): value for name, value in values.items()}
