"""Dagster's SQLite event log for runs of thousands of partitions: connections are kept, batches are one transaction.

The stock storage opens some eight connections an event and waits for the disk at each, about ten milliseconds a
partition. Tables, files and queries are its own: an instance can go from one to the other and back.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sql import get_alembic_config
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from dagster._time import datetime_from_timestamp
from sqlalchemy import bindparam, create_engine, event, inspect
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

_KEPT = 8
"""Runs whose file stays open."""
# Statements made once: SQLAlchemy finds what it compiled for them by what they are.
_INSERT_EVENTS, _INSERT_TAGS, _INSERT_ASSET = (
    table.insert() for table in (SqlEventLogStorageTable, AssetEventTagsTable, AssetKeyTable)
)
_UPDATE_ASSET = AssetKeyTable.update().where(AssetKeyTable.c.asset_key == bindparam("of_asset"))


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` with kept connections.

    A commit waits for the disk only at a checkpoint of the write-ahead log: a killed process loses nothing, a power cut
    may lose the last events. What holds is in the records, which are flushed.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._known_tables: set[str] = set()
        self._knows_times = False
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """``base_dir``, the folder of the files; unless given, where the stock storage has them."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> KeptSqliteEventLogStorage:
        """Dagster's constructor."""
        folder = config_value.get("base_dir") or str(Path(os.environ["DAGSTER_HOME"]) / "history" / "runs")
        return cls(folder, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # One thread at a time, as in the stock storage, so that the one connection of a file can be shared by threads.
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _flush_at_checkpoints)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > _KEPT:
            oldest = next(name for name in self._engines if name != INDEX_SHARD_NAME)
            self._engines.pop(oldest).dispose()
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that was there once stays."""
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        """As the stock one; a new run's file takes the schema's version without reading all migrations twice."""
        try:
            with engine.connect() as connection:
                made = (
                    str(engine.url) == self.conn_string_for_shard(INDEX_SHARD_NAME)
                    or inspect(connection).get_table_names()
                )
                connection.rollback()
                if not made:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    connection.commit()
                    with connection.begin():
                        SqlEventLogStorageMetadata.create_all(connection)
                        MigrationContext.configure(connection).stamp(_migrations(), "head")
                    return
        except DatabaseError:  # another process makes it at this moment: the stock one waits for that
            pass
        super()._initdb(engine, for_index_shard)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; one about an asset is written out once for the run's file and the index."""
        if event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS:
            self._store_asset_events(event.run_id, [event])
        else:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction for each file."""
        of_assets: dict[str, list[EventLogEntry]] = {}
        for each in events:
            if each.is_dagster_event and each.dagster_event_type in ASSET_EVENTS:
                of_assets.setdefault(each.run_id, []).append(each)
            else:
                self.store_event(each)
        for run, entries in of_assets.items():
            self._store_asset_events(run, entries)

    def _store_asset_events(self, run: str, entries: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(each) for each in entries]
        with self.run_connection(run) as connection:
            connection.execute(_INSERT_EVENTS, rows)
        with self.index_transaction() as connection:
            connection.execute(_INSERT_EVENTS, rows)
            # Nobody else writes in between, so the rows' ids follow each other.
            last_id = connection.exec_driver_sql("select last_insert_rowid()").scalar_one()
            first_id = last_id - len(rows) + 1
            self._store_asset_event_tags(connection, entries, range(first_id, last_id + 1))
            # The row of an asset tells its last event.
            for asset, place in {row["asset_key"]: place for place, row in enumerate(rows)}.items():
                self._tell_asset(connection, asset, entries[place], rows[place]["event"], first_id + place)

    def _store_asset_event_tags(
        self, conn: Connection, events: Sequence[EventLogEntry], event_ids: Sequence[int]
    ) -> None:
        """As the stock one, with a statement made once."""
        values = [
            {
                "event_id": number,
                "asset_key": each.get_dagster_event().asset_key.to_string(),  # pyright: ignore[reportOptionalMemberAccess]
                "key": key,
                "value": value,
                "event_timestamp": self._event_insert_timestamp(each),
            }
            for number, each in zip(event_ids, events, strict=True)
            for key, value in self._tags_for_asset_event(each).items()
        ]
        if values and self.has_table(AssetEventTagsTable.name):
            conn.execute(_INSERT_TAGS, values)

    def _tell_asset(self, conn: Connection, asset: str, event: EventLogEntry, told: str, number: int) -> None:
        """What `_store_asset_event` does; the stock one writes the event out anew, and tries to insert the asset's row
        every time, which fails from the second on.

        Args:
            conn: to the index.
            asset: the asset's key.
            event: the asset's last event.
            told: the event as JSON.
            number: its id in the index.
        """
        kind = event.get_dagster_event()
        values: dict[str, Any] = {}
        if kind.is_step_materialization:
            values["last_materialization"] = materialization_record(told, number)
        if kind.is_step_materialization or kind.is_asset_materialization_planned:
            values["last_run_id"] = event.run_id
        if (values or kind.is_asset_observation) and self._has_asset_key_index_cols_on_connection(conn):
            values["last_materialization_timestamp"] = datetime_from_timestamp(event.timestamp)
        if values and not conn.execute(_UPDATE_ASSET, {"of_asset": asset, **values}).rowcount:
            conn.execute(_INSERT_ASSET, {"asset_key": asset, **values})

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        if not self._knows_times:  # columns that are there stay
            self._knows_times = super()._has_asset_key_index_cols_on_connection(conn)
        return self._knows_times

    def dispose(self) -> None:
        """Close all files."""
        super().dispose()
        while self._engines:
            self._engines.popitem()[1].dispose()


def materialization_record(told: str, number: int) -> str:
    """The JSON of an `EventLogRecord` from the JSON of its event, as Dagster's serialisation orders it."""
    return f'{{"__class__": "EventLogRecord", "event_log_entry": {told}, "storage_id": {number}}}'


@cache
def _migrations() -> ScriptDirectory:
    """Dagster's migrations of the event log: files that are read once a process."""
    return ScriptDirectory.from_config(get_alembic_config(sqlite_event_log.__file__))


def _flush_at_checkpoints(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
