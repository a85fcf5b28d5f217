"""Parts of the ledger's tables: Parquet files of rows, as assets write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import write_together

_FEW_ROWS = 200


def part_path(folder: Path, table: str, name: str) -> Path:
    """Where a part of a table lies: ``<folder>/<table>/<name>.parquet``."""
    return folder / table / f"{name}.parquet"


def part_bytes(table: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of one table as a Parquet file.

    Raises:
        LedgerError: a row lacks a column of the table, or has one the table does not know.
    """
    schema = TABLES[table].schema
    names = set(schema.names)
    for row in rows:
        odd = (row.keys() ^ names) - set(TABLES[table].optional)
        if odd:
            raise LedgerError(
                f"columns do not match the table: {sorted(odd)}", where=table, remedy="see ledger/tables.py"
            )
    made = pa.Table.from_pylist(rows, schema=schema)
    # Parts of a few rows by the thousand: dictionaries and statistics would be most of the work and of the file.
    several = len(rows) > _FEW_ROWS
    written = pa.BufferOutputStream()
    pq.write_table(made, written, use_dictionary=several, write_statistics=several)
    return written.getvalue().to_pybytes()


def concatenated(table: str, parts: Iterable[pa.Table]) -> pa.Table:
    """The rows of a table's parts, with the columns that it has now: those that an older part lacks are NULL."""
    schema = TABLES[table].schema.remove_metadata()
    return pa.concat_tables([schema.empty_table(), *parts], promote_options="default").select(schema.names)


def rows_in(part: Path) -> pa.Table:
    """The rows of a part. DuckDB's own reader would take brackets and stars in its path for a pattern.

    Raises:
        pyarrow.ArrowException: it is damaged.
        OSError: it cannot be read.
    """
    with pq.ParquetFile(part) as file:
        return file.read(use_threads=False)


def write_part(folder: Path, table: str, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows of one table as a part, completely or not at all.

    Raises:
        LedgerError: a row lacks a column of the table, or has one the table does not know.
    """
    path = part_path(folder, table, name)
    write_together({path: part_bytes(table, rows)})
    return path
