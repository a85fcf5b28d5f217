"""Runs trained elsewhere: a table of mixtures and a table of losses, joined by id or refused.

Two layouts are read. RegMix's: a column ``index``, then ``train_<domain>`` weights in one file and
``metric/<target>_val_loss`` losses in the other. olmix's: ``run``, ``name`` and ``index``, then domains in ratios.csv
and metrics in metrics.csv. Rows are joined by ``run`` if both files have it, else by ``index``, never by their order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.table_columns import DECIMAL, SUMMARY
from regmix_pipeline.study.settings.documents import safe_name

IDS = ("run", "index")
"""Columns that can identify a run, the better one first."""
NOT_VALUES = ("run", "name", "index")
LOWEST_SUM, HIGHEST_SUM = 0.98, 1.02
"""What rounding may do to a row's sum. RegMix's own published rows lie between .996 and 1.003."""
HIGHEST_LOSS = 1000.0
"""Nats a token. A guess among a million tokens has 13.8: what is far above is not a loss, or its run diverged."""


@dataclass(frozen=True)
class ImportedRun:
    """A run trained elsewhere.

    Attributes:
        id: the run's own id.
        mixture: its weights, normalised.
        losses: target -> loss.
        tokens: tokens it was trained on; None where nobody said.
    """

    id: str
    mixture: Mixture
    losses: dict[str, float]
    tokens: int | None = None


@dataclass(frozen=True)
class RunTable:
    """A CSV as text: values by line and column.

    Attributes:
        path: the file.
        ids: columns that name the run.
        columns: the others.
        rows: line -> column -> value.
        lines: line as text -> its number.
    """

    path: Path
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]
    lines: dict[str, int]


def read_runs(
    mixtures: Path,
    losses: Path,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    ignore: Collection[str] = (),
) -> list[ImportedRun]:
    """Read, join and check two tables of runs.

    Args:
        mixtures: CSV of weights, a row per run.
        losses: CSV of losses, a row per run.
        domains: the study's domains; a column that is not one of them is refused. None takes every column.
        targets: the study's targets, all of which must be there; other columns are refused. None takes every column.
        ignore: columns of either table that are not looked at.

    Raises:
        RegressionError: naming file, line, column and remedy.
    """
    return joined_runs(read_table(mixtures), read_table(losses), domains, targets, ignore)


def joined_runs(
    mixtures: RunTable,
    losses: RunTable,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    ignore: Collection[str] = (),
) -> list[ImportedRun]:
    """As `read_runs`, of tables that were read."""
    weights, values = _without(mixtures, ignore), _without(losses, ignore)
    key = next((name for name in IDS if name in weights.ids and name in values.ids), None)
    if key is None:
        raise RegressionError(
            "the two tables share no id column",
            where=f"{mixtures.path} and {losses.path}",
            remedy="both need a column `run` or `index` that names the run of each row",
        )
    weight_rows, value_rows = _by(weights, key), _by(values, key)
    _check_joined(weights, values, weight_rows, value_rows, key)
    weight_names = _named(weights, domain_name, domains, "domain", must_have_all=False)
    value_names = _named(values, target_name, targets, "target", must_have_all=True)
    runs = []
    for run, line in weight_rows.items():
        mixture = _mixture(weights, line, weight_names)
        row = value_rows[run]
        found = {name: _loss(values, row, column) for column, name in value_names.items()}
        runs.append(ImportedRun(run, mixture, found))
    return runs


def columns_of(table: RunTable) -> dict[str, list[str]]:
    """Column -> its values as text, one a run; without those that name the run."""
    return {column: [row[column].strip() for row in table.rows.values()] for column in table.columns}


def _without(table: RunTable, ignore: Collection[str]) -> RunTable:
    kept = tuple(column for column in table.columns if column not in ignore)
    if not kept:
        raise RegressionError(
            "has no column of values", where=f"{table.path}:1", remedy="ignore fewer columns, or give another table"
        )
    return replace(table, columns=kept)


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


def read_table(path: Path) -> RunTable:
    """Read one table. Raises as `read_runs`."""
    import csv

    if not path.is_file():
        raise RegressionError("no such file", where=str(path), remedy="give a CSV with a row per run")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            # Spreadsheets write semicolons where a comma is the decimal sign, and trackers tabs.
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            numbered = [
                (reader.line_num, row if delimiter == "," else [_point(value) for value in row])
                for row in reader
                if any(value.strip() for value in row)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RegressionError(f"not a CSV in UTF-8: {error}", where=str(path), remedy="export it again") from error
    if not numbered:
        raise RegressionError("holds no runs", where=str(path), remedy="give a header and a row per run")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise RegressionError(f"column {twice[0]!r} appears twice", where=f"{path}:1", remedy="rename one")
    for line, row in numbered:
        if len(row) != len(header):
            raise RegressionError(
                f"{len(row)} values where the header names {len(header)}",
                where=f"{path}:{line}",
                remedy="correct the line",
            )
    rows = {str(line): dict(zip(header, row, strict=True)) for line, row in numbered}
    # pandas writes an index without a name: it numbers rows, and is an id only where nothing better is there.
    columns = tuple(name for name in header if name not in NOT_VALUES and name)
    if not columns:
        raise RegressionError(
            "has no column of values", where=f"{path}:1", remedy="name domains or targets in the header"
        )
    return RunTable(
        path, tuple(name for name in IDS if name in header), columns, rows, {line: int(line) for line in rows}
    )


def _point(value: str) -> str:
    """A number with a decimal point for one with a comma."""
    return (
        value.replace(",", ".")
        if value.count(",") == 1 and DECIMAL.fullmatch(value.strip().replace(",", "."))
        else value
    )


def _by(table: RunTable, key: str) -> dict[str, dict[str, str]]:
    """Rows by id. Raises where an id is empty or appears twice."""
    found: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    for line, row in table.rows.items():
        run = row[key].strip()
        if not run:
            raise RegressionError(f"the {key} is empty", where=f"{table.path}:{line}", remedy="name the run")
        if run.lower() in SUMMARY:
            raise RegressionError(
                f"row {run!r} is not a run but sums up others", where=f"{table.path}:{line}", remedy="remove the row"
            )
        if run in found:
            raise RegressionError(
                f"{key} {run!r} appears twice, first in line {lines[run]}",
                where=f"{table.path}:{line}",
                remedy="keep one row per run",
            )
        found[run], lines[run] = row | {"": line}, int(line)
    return found


def _check_joined(
    weights: RunTable, values: RunTable, weight_rows: Mapping[str, object], value_rows: Mapping[str, object], key: str
) -> None:
    for one, other, rows, others in (
        (weights, values, weight_rows, value_rows),
        (values, weights, value_rows, weight_rows),
    ):
        lonely = [run for run in rows if run not in others]
        if lonely:
            raise RegressionError(
                f"{len(lonely)} runs have no row in {other.path}, first {key} {lonely[0]!r}",
                where=str(one.path),
                remedy="give both files the same runs; rows are joined by id, never by order",
            )


def _named(
    table: RunTable, rename: object, known: Sequence[str] | None, what: str, *, must_have_all: bool
) -> dict[str, str]:
    """Column -> name of its domain or target."""
    names: dict[str, str] = {}
    for column in table.columns:
        name = column if known is not None and column in known else _known_name(rename(column), known)  # type: ignore[operator]
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
    if missing and must_have_all:
        raise RegressionError(
            f"no column for {what} {missing[0]!r}", where=f"{table.path}:1", remedy="add it, or drop it from the study"
        )
    return names


def _known_name(name: str, known: Sequence[str] | None) -> str:
    """``the_pile_arxiv`` -> ``arxiv`` where the study calls it that."""
    if known is None or name in known:
        return name
    return next((other for other in known if name == f"the_pile_{other}"), name)


def _mixture(table: RunTable, row: Mapping[str, str], names: Mapping[str, str]) -> Mixture:
    where = f"{table.path}:{row['']}"
    weights = {name: _number(table, row, column) for column, name in names.items()}
    negative = [name for name, weight in weights.items() if weight < 0]
    if negative:
        raise RegressionError(f"the weight of {negative[0]} is negative", where=where, remedy="weights are 0 or more")
    total = sum(weights.values())
    if not LOWEST_SUM <= total <= HIGHEST_SUM:
        raise RegressionError(
            f"the weights sum to {total:.4f}" if total < 1e6 else f"the weights sum to {total:.3g}",
            where=where,
            remedy=f"a row must sum to 1; {LOWEST_SUM} to {HIGHEST_SUM} is taken for rounding and normalised",
        )
    return Mixture.from_weights(weights)


def _loss(table: RunTable, row: Mapping[str, str], column: str) -> float:
    value = _number(table, row, column)
    if not 0 < value <= HIGHEST_LOSS:
        raise RegressionError(
            f"column {column!r} holds {row[column].strip()}, which is not a loss in nats: "
            f"those are above 0 and at most {HIGHEST_LOSS:g}",
            where=f"{table.path}:{row['']}",
            remedy="drop the run, or give its loss",
        )
    return value


def _number(table: RunTable, row: Mapping[str, str], column: str) -> float:
    text = row[column].strip()
    value = float(text) if DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(value):
        shown = repr(text) if text else "nothing"
        raise RegressionError(
            f"column {column!r} holds {shown}, not a number",
            where=f"{table.path}:{row['']}",
            remedy="drop the run, or write the number as in 3.14 or 3.14e0",
        )
    return value
