"""NVIDIA Energon: a metadataset whose training split blends datasets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from regmix_pipeline.blends.blend import Blend, Content, Source, number
from regmix_pipeline.errors import MixtureError

LISTS = ("blend", "datasets")
"""Fields that hold weighted datasets: of a MetadatasetV2 and of a Metadataset."""
MODULE = "megatron.energon"


def energon(content: Content) -> Blend | None:
    """The weights of a metadataset's training split; a blend inside a blend has the share given to it. A dataset
    is named by its subflavor ``domain``, as `regmix export` writes it, or by its path. Energon normalises the weights.

    Raises:
        MixtureError: the split states no weights, such as a ``blend_epochized``, whose shares follow from sizes.
    """
    value = content.value
    if not isinstance(value, dict) or value.get("__module__") != MODULE or not isinstance(value.get("splits"), dict):
        return None
    place = content.at("splits.train")
    split = value["splits"].get("train")
    rows = _listed(split)
    if rows is None:
        raise MixtureError(
            "the training split is not a blend with weights", where=place, remedy="give one that has `blend`"
        )
    return Blend("energon", content.path, tuple(_sources(rows, place, 1.0, whole=True)))


def _listed(value: Any) -> list[Any] | None:
    """The weighted datasets that a mapping holds; None where it holds none."""
    held = [value[name] for name in LISTS if name in value] if isinstance(value, dict) else []
    return held[0] if held and isinstance(held[0], list) and held[0] else None


def _sources(rows: list[Any], place: str, share: float, *, whole: bool = False) -> Iterator[Source]:
    """The sources of a blend; ``whole`` where weights stay as they are written, otherwise they sum to ``share``."""
    places = [f"{place}.{position}" for position in range(len(rows))]
    weights = [number(_weight(row), where) for row, where in zip(rows, places, strict=True)]
    total = math.fsum(weights)
    for row, weight, where in zip(rows, weights, places, strict=True):
        own = weight if whole else share * weight / total if total else 0.0
        inner = _listed(row)
        if inner is not None:
            yield from _sources(inner, where, own)
        else:
            yield Source(_name(row, where), own, where)


def _weight(row: Any) -> Any:
    return row.get("weight", 1) if isinstance(row, dict) else row


def _name(row: Any, where: str) -> str:
    row = row if isinstance(row, dict) else {}
    flavors = row.get("subflavors")
    if isinstance(flavors, dict) and "domain" in flavors:
        return str(flavors["domain"])
    if isinstance(row.get("path"), str):
        return row["path"]
    raise MixtureError("a dataset without a path", where=where, remedy="give a path, or a blend of paths")
