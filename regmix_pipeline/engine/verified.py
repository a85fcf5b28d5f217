"""What holds now, for those who decide by it: the ledger's views over parts whose checksums are compared first.

The ledger's own file is for people. A stage or a check that gates one reads the same tables, under the same names, from
the Parquet parts that the current records name, and from these alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from regmix_pipeline.engine.parts import concatenated
from regmix_pipeline.engine.records import Record, Records
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import sha256_of_bytes


@contextmanager
def verified_tables(
    records: Records, home: Path, *tables: str, ever: Collection[str] = (), assets: Collection[str] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the views ``current_<table>`` of the ledger's ``tables``, and for tables in ``ever`` a
    view ``<table>`` of all versions that are on record and as they were.

    Args:
        records: the home's records.
        home: the home.
        tables: names of tables.
        ever: names of tables of which all versions are wanted.
        assets: the assets whose rows are wanted; None: all that write the tables. A check must not fail by what a later
            stage makes again.

    Raises:
        LedgerError: a part is gone or was altered, or a record was.
    """
    with duckdb.connect() as connection:
        # One thread adds up in one order: equal evidence gives equal sums to the last bit.
        connection.execute("set threads = 1")
        for name in tables:
            connection.register(f"current_{name}", _held(records, home, name, assets))
        for name in ever:
            connection.register(name, _ever(records, home, name))
        yield connection


def rows_of(record: Record, home: Path, table: str) -> pa.Table:
    """The rows of a ledger table that a record speaks of; none where it wrote no part of it.

    Raises:
        LedgerError: a part is gone or was altered.
    """
    return concatenated(table, [_part(home, name, expected) for name, expected in _parts(record, table)])


def _held(records: Records, home: Path, table: str, assets: Collection[str] | None) -> pa.Table:
    parts: dict[str, str] = {}
    for asset in TABLES[table].assets:
        if assets is not None and asset not in assets:
            continue
        for key in records.keys(asset):
            record = records.current(asset, key)
            if record is not None:
                parts |= _parts(records.need_unaltered(record), table)
    return concatenated(table, [_part(home, name, parts[name]) for name in sorted(parts)])


def _ever(records: Records, home: Path, table: str) -> pa.Table:
    parts: dict[str, str] = {}
    for asset in TABLES[table].assets:
        for key in records.keys(asset):
            for record in records.history(asset, key):
                if records.is_saved(record):
                    parts |= _parts(record, table)
    held = [_held_part(home, name, parts[name]) for name in sorted(parts)]
    return concatenated(table, [rows for rows in held if rows is not None])


def _held_part(home: Path, name: str, expected: str) -> pa.Table | None:
    """A part that may be of a version that is past: nothing makes it again, so its loss must not stop what follows."""
    try:
        return _part(home, name, expected)
    except LedgerError:
        return None


def _parts(record: Record, table: str) -> list[tuple[str, str]]:
    return [(name, total) for name, total in record.sums.items() if name.startswith(f"tables/{table}/")]


def _part(home: Path, name: str, expected: str) -> pa.Table:
    try:
        content = (home / name).read_bytes()
    except OSError:
        content = b""
    if sha256_of_bytes(content) != expected:
        raise LedgerError(
            "this part of the ledger's tables was altered after it was recorded" if content else "is gone",
            where=str(home / name),
            remedy="restore it from a backup, or delete it: `regmix run` then makes it again"
            if content
            else "`regmix run` makes it again; or restore it from a backup",
        )
    return pq.read_table(pa.BufferReader(content))
