"""A blend: sources and weights as a trainer's file states them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import MixtureError

REMEDY = "give a blend that its trainer reads, or name its format with --format"


@dataclass(frozen=True)
class Source:
    """One source of a blend.

    Attributes:
        name: as the file names it: a domain, a dataset, or the path of its data.
        weight: as the file states it.
        place: file and line or field.
        tokens: tokens that it holds, where the file says so.
        documents: documents that it holds, where the file says so.
        max_epochs: how often its tokens may be seen, where the file says so.
    """

    name: str
    weight: float
    place: str
    tokens: float | None = None
    documents: float | None = None
    max_epochs: float | None = None


@dataclass(frozen=True)
class Blend:
    """A blend.

    Attributes:
        format: name of the format that it was read as.
        path: its file.
        sources: in the file's order; names may appear more than once.
        refuses: by how much the sum of the weights may differ from 1 before the trainer refuses them; None where it
            normalises them.
        budget: tokens of the run, where the file says so.
    """

    format: str
    path: Path
    sources: tuple[Source, ...]
    refuses: float | None = None
    budget: float | None = None

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return math.fsum(source.weight for source in self.sources)


@dataclass(frozen=True)
class Content:
    """A file to be read as a blend.

    Attributes:
        path: its name.
        text: what is in it.
        value: the same as YAML or JSON; None where it is neither.
    """

    path: Path
    text: str
    value: Any

    def at(self, place: str) -> str:
        """Where a field or a line is, for messages."""
        return f"{self.path}:{place}"


def number(value: Any, place: str, what: str = "a weight") -> float:
    """A number that is not negative.

    Raises:
        MixtureError: it is none.
    """
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise MixtureError(f"{value!r} is not {what}", where=place, remedy="write a number that is not negative")
    return found


def is_number(value: Any) -> bool:
    """Whether something is a number, or text that says one."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def in_turn(parts: Iterable[Any], where: str) -> tuple[Source, ...] | None:
    """Sources of a list of weights and names in turn; None where it is no such list."""
    listed = list(parts)
    if len(listed) < 2 or len(listed) % 2 or not all(is_number(weight) for weight in listed[::2]):
        return None
    if any(not isinstance(name, str) for name in listed[1::2]):
        return None
    return tuple(
        Source(name, number(weight, f"{where}.{2 * place}"), f"{where}.{2 * place}")
        for place, (weight, name) in enumerate(zip(listed[::2], listed[1::2], strict=True))
    )
