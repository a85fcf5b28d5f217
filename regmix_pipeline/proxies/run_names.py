"""Which columns of a table are domains or targets, and what these are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.proxies.run_facts import columns_named
from regmix_pipeline.proxies.run_files import RunTable
from regmix_pipeline.study.settings.documents import safe_name
from regmix_pipeline.study.settings.imports import RunTableSettings

NOT_VALUES = ("run", "name", "index")


def names_of(
    table: RunTable, what: str, known: Sequence[str] | None, settings: RunTableSettings, key: str
) -> dict[str, str]:
    """Column -> name of its domain or target, of the columns that hold these."""
    patterns = settings.domain_columns if what == "domain" else settings.target_columns
    rename = domain_name if what == "domain" else target_name
    columns = columns_of_values(table, settings, key, patterns)
    called = {column: rename(_starred(column, patterns)) for column in columns}
    return _named(table, called, known, what)


def columns_of_values(table: RunTable, settings: RunTableSettings, key: str, patterns: Sequence[str]) -> list[str]:
    """The columns of a table that may hold weights or losses: those that the patterns name, or all that are nothing
    else.

    Raises:
        RegressionError: there is none.
    """
    others = {*settings.ignore, *columns_named(settings.columns).values(), key}
    found = [name for name in table.columns if name not in others]
    if patterns:
        found = [name for name in found if any(_pattern(each).fullmatch(name) for each in patterns)]
    else:
        found = [name for name in found if name not in NOT_VALUES]
    if not found:
        raise RegressionError(
            f"no column is called as in {', '.join(patterns)}" if patterns else "has no column of values",
            where=f"{table.path}:1",
            remedy=f"its columns are {', '.join(table.columns)}"
            if patterns
            else "ignore fewer columns, or give another table",
        )
    return found


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, text.split("*"))))


def _starred(column: str, patterns: Sequence[str]) -> str:
    """What a pattern's first star stands for; the column's own name without one."""
    for each in patterns:
        match = _pattern(each).fullmatch(column)
        if match:
            return match[1] if match.groups() else column
    return column


def domain_name(column: str) -> str:
    """A domain's name: ``train_the_pile_arxiv`` -> ``the_pile_arxiv``, ``dclm:Health`` -> ``dclm_health``."""
    return _safe(re.sub(r"^train_", "", column), column)


def target_name(column: str) -> str:
    """A target's name: ``metric/the_pile_arxiv_val_loss`` -> ``the_pile_arxiv``."""
    return _safe(re.sub(r"_val_loss$|/val_loss$", "", re.sub(r"^(metric|valid)[/_]", "", column)), column)


def _safe(name: str, column: str) -> str:
    found = safe_name(name)
    if not found:
        raise RegressionError(
            f"column {column!r} has no letter or digit to name it by", where="the header", remedy="rename the column"
        )
    return found


def _named(table: RunTable, called: Mapping[str, str], known: Sequence[str] | None, what: str) -> dict[str, str]:
    """Column -> name of its domain or target."""
    names: dict[str, str] = {}
    for column, own in called.items():
        name = column if known is not None and column in known else _known_name(own, known)
        if known is not None and name not in known:
            raise RegressionError(
                f"column {column!r} is not a {what} of the study",
                where=f"{table.path}:1",
                remedy=f"leave it out by --ignore '{column}', or name it one of {', '.join(known)}",
            )
        if name in names.values():
            other = next(each for each, known in names.items() if known == name)
            raise RegressionError(
                f"columns {other!r} and {column!r} both mean {what} {name!r}",
                where=f"{table.path}:1",
                remedy="rename one",
            )
        names[column] = name
    missing = [name for name in known or () if name not in names.values()]
    if missing and what == "target":
        raise RegressionError(
            f"no column for {what} {missing[0]!r}", where=f"{table.path}:1", remedy="add it, or drop it from the study"
        )
    return names


def _known_name(name: str, known: Sequence[str] | None) -> str:
    """``the_pile_arxiv`` -> ``arxiv`` where the study calls it that."""
    if known is None or name in known:
        return name
    return next((other for other in known if name == f"the_pile_{other}"), name)
