"""The ledger: one DuckDB file made from records and Parquet parts, swapped in at once.

DuckDB lets one process write and shuts all others out, readers too. So nobody writes to the live file: a new one is
built beside it under a lock and put in place by a rename. Readers open it read-only and keep their snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from regmix_pipeline.engine.journal import VERDICT, Head
from regmix_pipeline.engine.parts import concatenated, rows_in
from regmix_pipeline.engine.plain import plain_folder, to_read, to_write
from regmix_pipeline.engine.records import Record, Records
from regmix_pipeline.engine.sums import note_sum
from regmix_pipeline.engine.tables import REAL, TABLES, TEXT, WHOLE_NUMBER, YES_NO
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import damage_of, written_atomically
from regmix_pipeline.progress import Say, to_stderr

SCHEMA_VERSION = 5
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


def build_ledger(records: Records, parts: Path, ledger: Path, say: Say = to_stderr) -> Path:
    """Build ``ledger`` from all records and parts and swap it in; returns its path.

    Args:
        records: what every asset holds and held.
        parts: folder with one folder of Parquet parts per table.
        ledger: the DuckDB file. Readers with the old one open are not disturbed.
        say: called with the parts that are damaged; the ledger is without their rows then, and never counts as current.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    # Taken first: records that are saved while the ledger is being built make it stale, not silently incomplete.
    current, head = records.fingerprint(), records.journal.head
    on_record = _parts_on_record(records)
    files = {
        name: [
            path for path in sorted((parts / name).glob("[!.]*.parquet")) if f"tables/{name}/{path.name}" in on_record
        ]
        for name in TABLES
    }
    with FileLock(ledger.with_suffix(".lock")), written_atomically(ledger) as temporary:
        try:
            _fill(temporary, current, head, records, files)
        except (duckdb.Error, pa.ArrowException, OSError):
            damaged = {path: problem for paths in files.values() for path in paths if (problem := damage_of(path))}
            if not damaged:
                raise
            for path, problem in damaged.items():
                say(f"{path}: {problem}. The ledger is without its rows; `regmix run` makes it again if it is current")
            _fill(temporary, "", head, records, {name: [p for p in files[name] if p not in damaged] for name in files})
        note_sum(ledger, temporary)
        # What somebody wrote into the old file, and DuckDB would hold against the new one.
        wal_of(ledger).unlink(missing_ok=True)
    return ledger


def _parts_on_record(records: Records) -> set[str]:
    """Names of the parts that a record or a verdict's line of the journal names; any other file is not the study's."""
    named = {name for record, _ in records.all() for name in record.sums if name.startswith("tables/")}
    said = [line.says.get("verdict") or {} for line in records.journal.lines if line.what == VERDICT]
    return named | {f"tables/verdicts/{verdict.get('verdict')}.parquet" for verdict in said}


def _fill(file: Path, current: str, head: Head, records: Records, parts: Mapping[str, Sequence[Path]]) -> None:
    file.write_bytes(_empty_ledger())
    try:
        with to_write(file) as plain, duckdb.connect(str(plain)) as connection:
            # One transaction: each would wait for the disk, and the file counts only once it is complete.
            connection.execute("begin transaction")
            connection.execute("insert into ledger_info values (?, ?, ?)", [SCHEMA_VERSION, current, str(head)])
            _add_records(connection, records)
            for name, files in parts.items():
                if files:
                    _insert(connection, name, concatenated(name, map(rows_in, files)))
            connection.execute("commit")
    finally:
        # It stays where the disk is full.
        wal_of(file).unlink(missing_ok=True)


def wal_of(ledger: Path) -> Path:
    """DuckDB's log beside a file that somebody has opened to write; nobody should."""
    return ledger.with_name(f"{ledger.name}.wal")


def ledger_is_current(records: Records, ledger: Path) -> bool:
    """Whether the ledger was built from the records as they are; a run that was killed may leave an older one."""
    if not ledger.is_file() or wal_of(ledger).exists():
        return False
    try:
        with to_read(ledger) as plain, duckdb.connect(str(plain), read_only=True) as connection:
            rows = connection.execute("select schema_version, records from ledger_info").fetchall()
    except (OSError, duckdb.Error):  # damaged: it is made again
        return False
    return rows == [(SCHEMA_VERSION, records.fingerprint())]


def head_in(ledger: Path) -> Head:
    """The journal's head when the ledger was built; of no lines where there is no ledger that can be read."""
    try:
        with _connected(ledger) as connection:  # one that is made again would know no more than the journal
            return Head.of(connection.execute("select journal from ledger_info").fetchall()[0][0])
    except (OSError, duckdb.Error, ValueError, IndexError):
        return Head(0, "")


@contextmanager
def read_ledger(ledger: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the ledger read-only; never waits for a writer.

    A ledger that cannot be opened, because it is gone, damaged or held by somebody who writes into it, is made again
    from the records beside it.

    Raises:
        LedgerError: it was not built yet, or cannot be made again.
    """
    with ExitStack() as until_closed:
        yield _opened(ledger, until_closed)


def _opened(ledger: Path, until_closed: ExitStack) -> duckdb.DuckDBPyConnection:
    home = ledger.parent
    if ledger.is_file():
        try:
            return until_closed.enter_context(_connected(ledger))
        except (OSError, duckdb.Error):  # it is made again
            pass
    if not (home / "records" / "current").is_dir():
        raise LedgerError(
            "there is no ledger yet", where=str(ledger), remedy="materialise the assets first: `regmix run`"
        )
    try:
        made = build_ledger(Records(home / "records"), home / "tables", ledger)
        return until_closed.enter_context(_connected(made))
    except (OSError, duckdb.Error) as error:
        raise LedgerError(
            f"cannot be read, nor made again: {error}",
            where=str(ledger),
            remedy="see that its folder can be written and has space, and run again",
        ) from error


@contextmanager
def _connected(ledger: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection; whatever is not a ledger of this version raises duckdb.Error."""
    with to_read(ledger) as plain, duckdb.connect(str(plain), read_only=True) as connection:
        (found,) = connection.execute("select schema_version from ledger_info").fetchall()
        if found != (SCHEMA_VERSION,):
            raise duckdb.InvalidInputException(f"a ledger of version {found[0]}")
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
        _insert(connection, name, content)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    # In one piece: as many as there are parts take DuckDB much longer.
    connection.register("incoming", rows.combine_chunks())
    connection.execute(f"insert into {table} by name select * from incoming")
    connection.unregister("incoming")


@cache
def _empty_ledger() -> bytes:
    """A ledger without rows: making its tables and telling what they mean takes longer than filling them."""
    with plain_folder() as folder:
        file = folder / "ledger.duckdb"
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
