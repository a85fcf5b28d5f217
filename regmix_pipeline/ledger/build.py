"""The ledger: one DuckDB file made from records and Parquet parts, swapped in whole.

DuckDB lets one process write and shuts all others out, readers too. So nobody writes to the live file: a new one is
built beside it under a lock and put in place by a rename. Readers open it read-only and keep their snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.ledger.journal import Head
from regmix_pipeline.ledger.records import Record, Records
from regmix_pipeline.ledger.sums import note_sum
from regmix_pipeline.ledger.tables import REAL, TABLES, TEXT, WHOLE_NUMBER, YES_NO

SCHEMA_VERSION = 3
"""Raised when a column changes its meaning. Columns may be added without raising it."""

_TYPES = {TEXT: "varchar", REAL: "double", WHOLE_NUMBER: "bigint", YES_NO: "boolean"}
_RECORDS = {
    "asset": TEXT,
    "key": TEXT,
    "version": TEXT,
    "recipe": TEXT,
    "current": YES_NO,
    "settings": TEXT,
    "facts": TEXT,
    "made_at": TEXT,
    "seconds": REAL,
    "run": TEXT,
    "sums": TEXT,
}
_LINEAGE = ("asset", "key", "version", "recipe", "input_asset", "input_key", "input_version")
_VIEWS = {
    "current_versions": "select asset, key, version, recipe, made_at, run from records where current",
    **{
        f"current_{name}": (
            f"select t.* from {name} t where exists (select 1 from records r where r.current "
            f"and r.asset in ({', '.join(repr(asset) for asset in table.assets)}) and r.version = t.version)"
            if table.assets
            else f"select * from {name}"
        )
        for name, table in TABLES.items()
    },
}


def build_ledger(records: Records, parts: Path, ledger: Path) -> Path:
    """Build ``ledger`` from all records and parts and swap it in; returns its path.

    Args:
        records: what every asset holds and held.
        parts: folder with one folder of Parquet parts per table.
        ledger: the DuckDB file. Readers with the old one open are not disturbed.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    # Taken first: records that are saved while the ledger is being built make it stale, not silently incomplete.
    current, head = records.fingerprint(), records.journal.head
    with FileLock(ledger.with_suffix(".lock")), written_atomically(ledger) as temporary:
        temporary.write_bytes(_empty_ledger())
        with duckdb.connect(str(temporary)) as connection:
            # One transaction: each would wait for the disk, and the file counts only once it is whole.
            connection.execute("begin transaction")
            connection.execute("insert into ledger_info values (?, ?, ?)", [SCHEMA_VERSION, current, str(head)])
            _add_records(connection, records)
            for name in TABLES:
                files = sorted(str(path) for path in (parts / name).glob("[!.]*.parquet"))
                if files:
                    connection.execute(
                        f"insert into {name} by name from read_parquet(?, union_by_name = true)", [files]
                    )
            connection.execute("commit")
        note_sum(ledger, temporary)
    return ledger


def ledger_is_current(records: Records, ledger: Path) -> bool:
    """Whether the ledger was built from the records as they are; a run that was killed may leave an older one."""
    if not ledger.is_file():
        return False
    try:
        with duckdb.connect(str(ledger), read_only=True) as connection:
            rows = connection.execute("select schema_version, records from ledger_info").fetchall()
    except duckdb.Error:  # damaged: it is made again
        return False
    return rows == [(SCHEMA_VERSION, records.fingerprint())]


def head_in(ledger: Path) -> Head:
    """The journal's head when the ledger was built; of no lines where there is no ledger that can be read."""
    try:
        with read_ledger(ledger) as connection:
            return Head.of(connection.execute("select journal from ledger_info").fetchall()[0][0])
    except (LedgerError, duckdb.Error, ValueError, IndexError):
        return Head(0, "")


@contextmanager
def read_ledger(ledger: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the ledger read-only; never waits for a writer.

    Raises:
        LedgerError: it was not built yet.
    """
    if not ledger.is_file():
        raise LedgerError(
            "there is no ledger yet", where=str(ledger), remedy="materialise the assets first: `regmix run`"
        )
    try:
        connection = duckdb.connect(str(ledger), read_only=True)
    except duckdb.Error as error:
        raise LedgerError(
            f"cannot be read: {error}",
            where=str(ledger),
            remedy="delete it: `regmix run` makes it again from the records",
        ) from error
    with connection:
        yield connection


def _add_records(connection: duckdb.DuckDBPyConnection, records: Records) -> None:
    # Of several records of one recipe, as where a file was lost and made again, the last is listed.
    latest: dict[tuple[str, ...], tuple[Record, bool]] = {}
    for record, current in sorted(records.all(), key=lambda row: (row[1], row[0].made_at)):
        latest[record.asset, record.key, record.version, record.recipe] = record, current
    rows = sorted(latest.values(), key=lambda row: (row[0].asset, row[0].key, row[0].version, row[0].recipe))
    values: dict[str, list[Any]] = {
        "current": [current for _, current in rows],
        "settings": [json.dumps(record.settings, default=str) for record, _ in rows],
        "facts": [json.dumps(record.facts, default=str) for record, _ in rows],
        "sums": [json.dumps(dict(record.sums)) for record, _ in rows],
    }
    table = pa.table(
        {
            name: pa.array(values.get(name) or [getattr(record, name) for record, _ in rows], kind)
            for name, kind in _RECORDS.items()
        }
    )
    edges = [
        (record.asset, record.key, record.version, record.recipe, *upstream.split("/", 1), version)
        for record, _ in rows
        for upstream, version in record.inputs.items()
    ]
    lineage = pa.table({name: pa.array([edge[i] for edge in edges], pa.string()) for i, name in enumerate(_LINEAGE)})
    for name, content in (("records", table), ("lineage", lineage)):
        connection.register("incoming", content)
        connection.execute(f"insert into {name} by name select * from incoming")
        connection.unregister("incoming")


@cache
def _empty_ledger() -> bytes:
    """A ledger without rows: making its tables and telling what they mean takes longer than filling them."""
    with TemporaryDirectory(prefix="regmix-") as folder:
        file = Path(folder) / "ledger.duckdb"
        with duckdb.connect(str(file)) as connection:
            connection.execute("begin transaction")
            connection.execute("create table ledger_info (schema_version integer, records varchar, journal varchar)")
            connection.execute(f"create table records ({_columns(_RECORDS)})")
            connection.execute(f"create table lineage ({_columns(dict.fromkeys(_LINEAGE, TEXT))})")
            for name, table in TABLES.items():
                connection.execute(
                    f"create table {name} ({_columns({n: kind for n, (kind, _) in table.columns.items()})})"
                )
                connection.execute(f"comment on table {name} is {_quoted(table.meaning)}")
                for column, (_, meaning) in table.columns.items():
                    connection.execute(f"comment on column {name}.{column} is {_quoted(meaning)}")
            for name, query in _VIEWS.items():
                connection.execute(f"create view {name} as {query}")
            connection.execute("commit")
        return file.read_bytes()


def _columns(types: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in types.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
