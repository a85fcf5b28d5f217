"""Tables of runs as files: CSV, Parquet or JSON lines, read into text by line and column."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.proxies.table_columns import DECIMAL

ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__|level_0", re.ASCII)
"""Columns in which pandas writes the index of a frame that has no name for it."""
UNNAMED = ""
"""What such a column is called here."""
PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")


@dataclass(frozen=True)
class RunTable:
    """A table as text: values by line and column.

    Attributes:
        path: the file.
        columns: names of all columns but those that number rows.
        rows: line -> column -> value; under `UNNAMED` the index that a frame had no name for, where there is one.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[int, dict[str, str]]

    @property
    def index(self) -> list[str]:
        """The values of the index without a name; empty where there is none."""
        return [row[UNNAMED] for row in self.rows.values() if UNNAMED in row]


def read_table(path: Path) -> RunTable:
    """Read one table; its kind follows from the file's name, CSV is what has no other.

    Raises:
        RegressionError: naming file, line and remedy.
    """
    if not path.is_file():
        raise RegressionError("no such file", where=str(path), remedy="give a table with a row per run")
    if path.suffix.lower() in PARQUET:
        rows = dict(_of_parquet(path))
    elif path.suffix.lower() in JSON_LINES:
        rows = dict(_of_json_lines(path))
    else:
        rows = dict(_of_csv(path))
    if not rows:
        raise RegressionError("holds no runs", where=str(path), remedy="give a header and a row per run")
    # Of JSON lines, a run may lack what others have.
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    numbers = [name for name in names if ROW_NUMBERS.fullmatch(name)]
    columns = tuple(name for name in names if name not in numbers)
    if not columns:
        raise RegressionError(
            "has no column of values", where=f"{path}:1", remedy="name domains or targets in the header"
        )
    full = {line: {name: row.get(name, "").strip() for name in columns} for line, row in rows.items()}
    for line, row in full.items():
        row |= {UNNAMED: rows[line].get(numbers[0], "").strip()} if numbers else {}
    return RunTable(path, columns, full)


def _of_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
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
        yield line, dict(zip(header, row, strict=True))


def _point(value: str) -> str:
    """A number with a decimal point for one with a comma."""
    return (
        value.replace(",", ".")
        if value.count(",") == 1 and DECIMAL.fullmatch(value.strip().replace(",", "."))
        else value
    )


def _of_json_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                try:
                    row = json.loads(text, parse_float=str, parse_int=str)
                except ValueError as error:
                    raise RegressionError(
                        f"not JSON: {error}", where=f"{path}:{line}", remedy="write one object a line"
                    ) from error
                if not isinstance(row, dict):
                    raise RegressionError("not an object", where=f"{path}:{line}", remedy="write one object a line")
                yield line, dict(_flat(row))
    except UnicodeDecodeError as error:
        raise RegressionError(f"not UTF-8: {error}", where=str(path), remedy="export it again") from error


def _of_parquet(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from regmix_pipeline.documents.columns import readable_values

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RegressionError(f"not Parquet: {error}", where=str(path), remedy="export it again") from error
    values = {name: readable_values(table.column(name)) for name in table.column_names}
    for number in range(table.num_rows):
        yield number + 1, dict(_flat({name: column[number] for name, column in values.items()}))


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Values as text; those inside others are named ``outer.inner``, as trackers' own tables do."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", "" if value is None else str(value)
