"""Proxies of domains that were renamed since: found under their former names, and read in the names of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from regmix_pipeline.files import fingerprint
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


def alike(spec: ProxySpec, revised: Set[str], names: Mapping[str, str]) -> str:
    """What two proxies have in common that differ by the documents of revised domains, and by former names, alone.

    Args:
        spec: one of them.
        revised: domains whose documents were revised.
        names: former name -> name of today.
    """
    others = [
        (domain, names.get(domain, domain))
        for domain, _ in spec.exact_mixture.parts
        if names.get(domain, domain) not in revised
    ]
    start = spec.start
    return fingerprint(
        spec.exact_mixture.renamed(names).id,
        spec.seed,
        {name: spec.shards[domain].version for domain, name in others},
        {name: spec.available_windows.get(domain) for domain, name in others},
        *([] if start is None else [alike(start, revised, names), start.training.tokens, start.steps_after]),
    )


def renamed_keys(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The same mapping with its keys called as ``names`` says, former name -> name; other keys stay."""
    return {names.get(name, name): value for name, value in values.items()}
