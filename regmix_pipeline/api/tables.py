"""Tables of a notebook, as the import of runs reads them: pandas, polars, numpy or a dictionary of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from regmix_pipeline.errors import RegressionError, StudyError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.proxies.run_files import UNNAMED, RunTable
from regmix_pipeline.proxies.run_ids import IDS, key_of
from regmix_pipeline.proxies.run_names import NOT_VALUES
from regmix_pipeline.proxies.run_tables import ImportedRun, joined_runs, mixtures_in
from regmix_pipeline.study.settings.base import Settings, place_of, problem_of

Kind = TypeVar("Kind", bound=Settings)
Table = Any
"""A frame of pandas or polars, an array, or a dictionary: column -> its values."""


def runs_of(
    weights: Table, losses: Table, domains: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[ImportedRun], list[str], list[str]]:
    """Runs of two tables, joined by a column that names them, or row by row where neither table has one.

    Args:
        weights: a row per run, a column per domain.
        losses: a row per run, a column per target.
        domains, targets: the columns to take; default all.

    Returns:
        The runs, the domains and the targets, in the order of the columns.

    Raises:
        RegressionError: naming table, row, column and remedy.
    """
    tables = _read(weights, "weights", domains, "domain"), _read(losses, "losses", targets, "target")
    named = [bool(table.index) or not set(table.columns).isdisjoint(IDS) for table in tables]
    if any(named):
        key = key_of(*tables)
    else:
        key = IDS[0]
        rows = [len(table.rows) for table in tables]
        if rows[0] != rows[1]:
            raise RegressionError(
                f"{rows[0]} rows of weights, {rows[1]} of losses",
                where="weights and losses",
                remedy=f"give both a row per run, or a column {key!r} that names the run of each row",
            )
        tables = _numbered(tables[0], key), _numbered(tables[1], key)
    of_weights = _chosen(tables[0], domains, key, "domain")
    of_losses = _chosen(tables[1], targets, key, "target")
    both = _only(tables[0], key, of_weights), _only(tables[1], key, of_losses)
    return joined_runs(*both, of_weights, of_losses).runs, of_weights, of_losses


def mixtures_of(weights: Table, domains: Sequence[str], where: str = "weights") -> list[Mixture]:
    """Mixtures of the domains, a row each; of a dictionary of numbers, one mixture whose other domains are 0.

    Raises:
        RegressionError: a domain that is not known or has no column, or a row that does not sum to 1.
    """
    if isinstance(weights, Mapping) and all(np.isscalar(value) for value in weights.values()):
        unknown = [name for name in weights if name not in domains]
        if unknown:
            raise RegressionError(
                f"{unknown[0]!r} is not a domain", where=where, remedy=f"the domains are {', '.join(domains)}"
            )
        weights = {name: [weights.get(name, 0.0)] for name in domains}
    table = _read(weights, where, domains, "domain")
    missing = [name for name in domains if name not in table.columns]
    if missing:
        raise RegressionError(
            f"no column for the domain {missing[0]!r}",
            where=where,
            remedy=f"give a column for each of {', '.join(domains)}",
        )
    lines = {str(line): line for line in table.rows}
    return list(mixtures_in(table, lines, {name: name for name in domains})[0].values())


def settings_of(kind: type[Kind], given: Kind | Mapping[str, Any] | None) -> Kind:
    """Settings as they are, or of a dictionary of their fields.

    Raises:
        StudyError: a field that is not there, or a value that is not sound.
    """
    if isinstance(given, kind):
        return given
    try:
        return kind.model_validate(given or {})
    except ValidationError as error:
        item: Any = error.errors()[0]
        place = ".".join(str(part) for part in place_of(item)) or kind.__name__
        remedy = f"see {kind.__name__} in the reference of the study file"
        raise StudyError(problem_of(item, kind), where=f"settings, {place}", remedy=remedy) from error


def _only(table: RunTable, key: str, columns: Sequence[str]) -> RunTable:
    """Without the columns that were not chosen: a target may stand beside the domains, and the other way round."""
    return RunTable(table.path, (*([] if key == UNNAMED else [key]), *columns), table.rows)


def _chosen(table: RunTable, asked: Sequence[str] | None, key: str, what: str) -> list[str]:
    columns = [name for name in table.columns if name != key and name not in NOT_VALUES]
    missing = [name for name in asked or () if name not in table.columns]
    if missing or not columns:
        raise RegressionError(
            f"no column {missing[0]!r}" if missing else f"no column of a {what}",
            where=str(table.path),
            remedy=f"its columns are {', '.join(table.columns)}",
        )
    return list(asked) if asked is not None else columns


def _read(table: Table, where: str, names: Sequence[str] | None, what: str) -> RunTable:
    """A table as text; rows are numbered from 0, as its owner counts them."""
    columns = _columns(table, where, names, what)
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise RegressionError(
            "holds no rows, or columns of different lengths", where=where, remedy="give a row per run"
        )
    rows = {
        number: {name: _text(values[number]) for name, values in columns.items()} for number in range(lengths.pop())
    }
    return RunTable(Path(where), tuple(name for name in columns if name != UNNAMED), rows)


def _columns(table: Table, where: str, names: Sequence[str] | None, what: str) -> dict[str, Sequence[Any]]:
    if isinstance(table, Mapping):
        return {str(name): list(values) for name, values in table.items()}
    if hasattr(table, "to_frame") and not hasattr(table, "columns"):  # a series
        table = table.to_frame()
    if hasattr(table, "iloc"):  # pandas
        columns = {str(name): table[name].tolist() for name in table.columns}
        index = table.index
        if index.name is not None:
            return {str(index.name): index.tolist(), **columns}
        # A frame that was sorted or filtered keeps the numbers of its rows: only those of all rows name none.
        return columns if index.equals(type(index)(range(len(table)))) else {UNNAMED: index.tolist(), **columns}
    if hasattr(table, "get_column"):  # polars
        return {name: table.get_column(name).to_list() for name in table.columns}
    values = np.asarray(table)
    values = values[:, None] if values.ndim == 1 and what == "target" else np.atleast_2d(values)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise RegressionError(
            f"an array of shape {values.shape} and type {values.dtype} is no table of numbers",
            where=where,
            remedy="give an array of shape (rows, columns), or a frame",
        )
    names = [f"{what}_{number}" for number in range(values.shape[1])] if names is None else names
    if len(names) != values.shape[1]:
        raise RegressionError(
            f"{values.shape[1]} columns, and {len(names)} names", where=where, remedy=f"name every {what}, in order"
        )
    return {name: values[:, number].tolist() for number, name in enumerate(names)}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _numbered(table: RunTable, key: str) -> RunTable:
    rows = {number: {**row, key: str(number)} for number, row in table.rows.items()}
    return RunTable(table.path, (key, *table.columns), rows)
