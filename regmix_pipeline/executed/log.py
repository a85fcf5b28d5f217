"""A trainer's account of a run in one shape: tokens of each domain at each reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.planned import Planned

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Options:
    """What the user says of a log.

    Attributes:
        columns: pattern of the columns that hold a source's tokens, the star being its name; "" to look for them.
        names: source as the log has it -> domain.
        cumulative: whether numbers are totals since the start; None where their names say so.
        sequence: tokens of a sequence; None where nobody knows.
        order: file with the order of an epoch's sequences, for trainers that keep one.
    """

    columns: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    cumulative: bool | None = None
    sequence: int | None = None
    order: Path | None = None


@dataclass(frozen=True)
class Executed:
    """What a run drew.

    Attributes:
        readings: a row a reading in the order of the run: ``step`` (null where nobody counts steps), and for every
            domain of the plan a column of its tokens since the start.
        said: how the log was read, in a sentence.
        sequence: tokens of a sequence; None where nobody knows.
    """

    readings: pl.DataFrame
    said: str
    sequence: int | None = None


@dataclass(frozen=True)
class RunLog:
    """A kind of log.

    Attributes:
        fits: whether files are of this kind, by the content of the first, as `first_value` gives it.
        read: files in the order of the run, the plan, options -> what the run drew. Raises StudyError.
    """

    fits: Callable[[Path, Any], bool]
    read: Callable[[Sequence[Path], Planned, Options], Executed]


def domain_of(name: object, planned: Planned, options: Options, where: str) -> str:
    """The domain that a log calls so: by `Options.names`, its own name, an exported name, its number or its files.

    Raises:
        StudyError: it is none of the plan.
    """
    text = str(name)
    if text in options.names:
        return options.names[text]
    domains = list(planned.shares)
    for domain in domains:
        if text == domain or text.lower() == f"regmix_{domain}".lower():
            return domain
    if text.isdigit() and int(text) < len(domains):
        return domains[int(text)]
    if (held := domain_at(text, planned)) is not None:
        return held
    raise StudyError(
        f"{text!r} is no source of the plan, which has {', '.join(domains)}",
        where=where,
        remedy=f"say what it is: --name '{text}={domains[0]}'",
    )


def domain_at(address: str, planned: Planned) -> str | None:
    """The one domain whose files are there; None where none are, or those of several."""
    held = {domain for each, domain in planned.addresses.items() if _same_place(address, each)}
    return held.pop() if len(held) == 1 else None


def _same_place(one: str, other: str) -> bool:
    """Whether two addresses name one file, or the first the other's folder, whatever stands before either."""
    left, right = (text.split("://")[-1].strip("/") for text in (one, other))
    same = left == right or left.endswith(f"/{right}") or right.endswith(f"/{left}")
    return bool(left and right) and (same or right.startswith(f"{left}/"))
