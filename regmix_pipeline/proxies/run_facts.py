"""How each imported run was trained: its tokens, seed, model size, and whether it is complete."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.proxies.run_files import RunTable
from regmix_pipeline.proxies.table_columns import DECIMAL
from regmix_pipeline.study.settings.imports import RunColumns, RunTableSettings

NAMES: Mapping[str, str] = {
    "tokens": r"(train_|trained_|consumed_|num_|n_)?tokens(_seen|_trained)?",
    "parameters": r"(num_|n_|model_|total_)?(params|parameters)|model_size|non_embedding_(params|parameters)",
    "seed": r"(random_)?seed",
    "step": r"_?(global_)?steps?",
    "state": r"state|status",
}
"""Fact -> names of its columns in trackers' tables; groups before them, as in ``config.``, do not count."""
FINISHED = ("finished", "completed", "complete", "done", "success", "succeeded")
UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_AMOUNT = re.compile(rf"({DECIMAL.pattern})\s*([kmbgt]?)", re.ASCII | re.IGNORECASE)
ALIKE = 1.1
"""Times the smaller of two model sizes up to which they count as one: what is counted as a parameter differs."""
ENOUGH = 0.99
"""Share of the longest run's tokens from which another is as long: steps are whole."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its weights and losses; None where nobody said.

    Attributes:
        where: file and line of the run.
        tokens, parameters, seed, step: whole numbers.
        state: how it ended, as its tracker calls it.
    """

    where: str
    tokens: int | None = None
    parameters: int | None = None
    seed: int | None = None
    step: int | None = None
    state: str | None = None


def fact_columns(tables: Iterable[RunTable], taken: Collection[str]) -> RunColumns:
    """The columns that say how runs were trained, by their names.

    Args:
        tables: of mixtures and of losses.
        taken: columns that are something else, such as a domain, or are not looked at.
    """
    names = [name for table in tables for name in table.columns if name not in taken]
    found: dict[str, str] = {}
    for fact, pattern in NAMES.items():
        matching = (name for name in names if re.fullmatch(pattern, re.split(r"[./]", name)[-1], re.IGNORECASE))
        if column := next(matching, None):
            found[fact] = column
    return RunColumns(**found)


def columns_named(columns: RunColumns) -> dict[str, str]:
    """Fact -> its column, of those that are there."""
    return {fact: column for fact, column in columns.model_dump().items() if column is not None}


def facts_of(settings: RunTableSettings, tables: Sequence[tuple[RunTable, int]]) -> RunFacts:
    """The facts of one run.

    Args:
        settings: which columns say what.
        tables: each table with the run's line in it; the first that says something is believed.

    Raises:
        RegressionError: a column that is in neither table, or a value that is no whole number.
    """
    first, line = tables[0]
    where = f"{first.path}:{line}"
    found: dict[str, int | str | None] = {"tokens": settings.tokens, "parameters": settings.parameters}
    for fact, column in columns_named(settings.columns).items():
        holding = [(table, at) for table, at in tables if column in table.columns]
        if not holding:
            raise RegressionError(
                f"neither table has the column {column!r}", where=f"columns.{fact}", remedy="name one that is there"
            )
        said = [(table.rows[at][column], f"{table.path}:{at}") for table, at in holding if table.rows[at][column]]
        if fact == "state":
            found[fact] = said[0][0].lower() if said else None
        elif said:
            found[fact] = amount_of(said[0][0], column, said[0][1])
        elif fact == "parameters" and settings.parameters is None:
            raise RegressionError(
                f"column {column!r} is empty: the run's model size is not known",
                where=f"{holding[0][0].path}:{holding[0][1]}",
                remedy="fill it in, or leave the column out by --ignore",
            )
    return RunFacts(where, **found)  # pyright: ignore[reportArgumentType]


def amount_of(text: str, column: str, where: str) -> int:
    """A whole number as tables write it: ``1000000``, ``1e6``, ``1M``. Raises RegressionError for anything else."""
    match = _AMOUNT.fullmatch(text.strip())
    number = float(match[1]) * UNITS[match[4].lower()] if match else -1.0
    if not 0 <= number < 2**63 or number != round(number):
        raise RegressionError(
            f"column {column!r} holds {text!r}, which is no whole number",
            where=where,
            remedy=f"write it as in 1000000, 1e6 or 1M, or leave the column out by --ignore '{column}'",
        )
    return round(number)


def partial_runs(facts: Mapping[str, RunFacts], stated_tokens: int | None = None) -> dict[str, str]:
    """Run -> why it is partial: its state, or fewer steps or tokens than the longest of its model size.

    Args:
        facts: run -> what is known of it.
        stated_tokens: what all runs were to be trained on; default: what the longest was.
    """
    found: dict[str, str] = {}
    for group in sizes_of(each.parameters for each in facts.values()):
        runs = {run: each for run, each in facts.items() if each.parameters in group}
        longest = {
            "step": max((each.step for each in runs.values() if each.step is not None), default=None),
            "tokens": max((each.tokens for each in runs.values() if each.tokens is not None), default=None),
        }
        if stated_tokens is not None:
            longest["tokens"] = stated_tokens
        for run, each in runs.items():
            if each.state is not None and each.state not in FINISHED:
                found[run] = f"its state is {each.state!r}"
            for fact, unit in (("step", "steps"), ("tokens", "tokens")):
                has, most = getattr(each, fact), longest[fact]
                if most is not None and (has is None or has < ENOUGH * most):
                    shown = "no number of" if has is None else f"{has:,}"
                    found.setdefault(run, f"it has {shown} {unit}, and the runs of its size have {most:,}")
    return found


def sizes_of(parameters: Iterable[int | None]) -> list[set[int | None]]:
    """Model sizes, grouped: those within a tenth of the smallest of a group are one size; None is one of its own.

    >>> sizes_of([60_000_000, 1_000_000, 1_050_000, 1_000_000])
    [{1000000, 1050000}, {60000000}]
    """
    groups: list[set[int | None]] = []
    distinct = set(parameters)
    for size in sorted(each for each in distinct if each is not None):
        least = min((each for each in groups[-1] if each), default=0) if groups else 0
        if least and size <= ALIKE * least:
            groups[-1].add(size)
        else:
            groups.append({size})
    if None in distinct:
        groups.append({None})
    return groups


def fitted_size(
    parameters: Sequence[int | None], asked: int | None = None, own: Collection[int] = ()
) -> set[int | None]:
    """The model size whose runs are fitted: of several only one, because losses of two sizes do not compare.

    Args:
        parameters: of every run.
        asked: the size that the study names.
        own: parameters of the study's own proxies, in every way of counting them; empty where it trains none.

    Returns:
        The parameters of the runs that are fitted: those asked for; else, where the study trains proxies, those of the
        proxies' size; else those that most runs have, of two alike the smaller.
    """
    groups = sizes_of(parameters)
    if groups == [{None}] or not groups:
        return {None}
    wanted = {asked} if asked is not None else set(own)
    if wanted:
        return {size for group in groups for size in group if size and any(_alike(size, each) for each in wanted)}
    return max(groups, key=lambda group: sum(each in group for each in parameters))


def _alike(one: int, other: int) -> bool:
    return max(one, other) <= ALIKE * min(one, other)
