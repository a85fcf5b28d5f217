"""The event log that keeps its connections holds what the stock one would, and each reads the other's files."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import EventLogRecord
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import EventLogStorage, SqliteEventLogStorage
from dagster._serdes import deserialize_value, serialize_value

from resources.event_log import KeptSqliteEventLogStorage
from resources.instance import prepare_instance

PARTITIONS = dg.StaticPartitionsDefinition([f"m{number:03}" for number in range(40)])


@dg.multi_asset(
    specs=[dg.AssetSpec("proxies", skippable=True)],
    check_specs=[dg.AssetCheckSpec("all_there", asset="proxies")],
    partitions_def=PARTITIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def proxies(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    for key in context.partition_keys:
        yield dg.AssetMaterialization("proxies", partition=key, tags={"dagster/data_version": f"v-{key}"})
    yield dg.AssetCheckResult(passed=True, asset_key="proxies", check_name="all_there")


def materialised(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    keys = PARTITIONS.get_partition_keys()
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    return dg.materialize([proxies], instance=instance, tags=tags)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Both are set by what is under test; pytest puts them back.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "")
    del os.environ["DAGSTER_EVENT_BATCH_SIZE"]
    prepare_instance(tmp_path)
    return tmp_path


def told(storage: EventLogStorage, run: str) -> list[tuple[str, str | None]]:
    records = storage.get_records_for_run(run).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [(event.event_type_value, event.partition) for event in events if event]


def test_the_shipped_instance_uses_it_and_the_stock_storage_reads_the_same(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, KeptSqliteEventLogStorage)
        run = materialised(instance).run_id
        mine = told(instance.event_log_storage, run)
        made = instance.event_log_storage.get_materialized_partitions(dg.AssetKey("proxies"))
        versions = instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey("proxies"), dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        )
    stock = SqliteEventLogStorage(str(home / "dagster" / "history" / "runs"))
    assert told(stock, run) == mine
    assert stock.get_materialized_partitions(dg.AssetKey("proxies")) == made == set(PARTITIONS.get_partition_keys())
    assert {key: tags["dagster/data_version"] for key, tags in versions.items()} == {key: f"v-{key}" for key in made}


def test_a_run_tells_the_same_events_as_with_the_stock_storage(home: Path, tmp_path: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        kept = told(instance.event_log_storage, materialised(instance).run_id)
    (tmp_path / "stock").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "stock")) as instance:
        stock = told(instance.event_log_storage, materialised(instance).run_id)
    assert sorted(map(str, kept)) == sorted(map(str, stock))
    assert [kind for kind, _ in kept].count("ASSET_MATERIALIZATION_PLANNED") == 40


def test_every_row_is_what_the_stock_storage_makes_of_the_same_events(home: Path, tmp_path: Path) -> None:
    """All but the ids of rows, which other events of the run have moved on."""
    with dg.DagsterInstance.get() as instance:
        run = materialised(instance).run_id
        instance.report_runless_asset_event(dg.AssetObservation("proxies", metadata={"seen": 1}))
        instance.report_runless_asset_event(dg.AssetMaterialization("losses", tags={"dagster/data_version": "v"}))
    folder = home / "dagster" / "history" / "runs"
    told = rows(
        folder / "index.db", "select event from event_logs where run_id = '' or asset_key is not null order by id"
    )
    (tmp_path / "stock").mkdir()
    stock = SqliteEventLogStorage(str(tmp_path / "stock"))
    for (text,) in told:
        stock.store_event(deserialize_value(text, EventLogEntry))
    for query in (
        "select run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition from event_logs "
        "where asset_key is not null order by id",
        "select asset_key, last_run_id, last_materialization_timestamp from asset_keys order by asset_key",
        "select asset_key, key, value, event_timestamp from asset_event_tags order by id",
        "select version_num from alembic_version",
    ):
        assert rows(folder / "index.db", query) == rows(tmp_path / "stock" / "index.db", query)
    for asset, text in rows(folder / "index.db", "select asset_key, last_materialization from asset_keys"):
        last = deserialize_value(text, EventLogRecord)
        assert serialize_value(last) == text
        event = f"select event from event_logs where id = {last.storage_id} and asset_key = '{asset}'"
        assert rows(folder / "index.db", event) == [(serialize_value(last.event_log_entry),)]
    shards = [folder / f"{run}.db", tmp_path / "stock" / f"{run}.db"]
    schemas = [rows(path, "select type, name, sql from sqlite_master order by name, type") for path in shards]
    assert schemas[0] == schemas[1]
    assert len({str(rows(path, "select version_num from alembic_version")) for path in shards}) == 1
    assert {rows(path, "pragma journal_mode")[0] for path in shards} == {("wal",)}


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_threads_share_a_storage(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:

        def report(start: int) -> None:
            for number in range(start, start + 25):
                instance.report_runless_asset_event(dg.AssetMaterialization("losses", partition=f"m{number}"))

        threads = [threading.Thread(target=report, args=(100 * place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = instance.event_log_storage.get_materialized_partitions(dg.AssetKey("losses"))
    assert made == {f"m{100 * place + number}" for place in range(4) for number in range(25)}


REPORTER = """
import sys, dagster as dg
with dg.DagsterInstance.get() as instance:
    for number in range(10**6):
        instance.report_runless_asset_event(dg.AssetMaterialization("losses", partition=f"{sys.argv[1]}-{number}"))
        print(number, flush=True)
"""


def test_two_processes_write_at_once_and_a_kill_loses_nothing_that_was_reported(home: Path) -> None:
    with dg.DagsterInstance.get():
        pass
    writers = [
        subprocess.Popen([sys.executable, "-c", REPORTER, name], stdout=subprocess.PIPE, text=True) for name in "ab"
    ]
    said = {"a": -1, "b": -1}
    for name, writer in zip("ab", writers, strict=True):
        assert writer.stdout is not None
        while said[name] < 20:
            said[name] = int(writer.stdout.readline())
    for name, writer in zip("ab", writers, strict=True):
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        said[name] = int(rest[-1]) if rest else said[name]
    with dg.DagsterInstance.get() as instance:
        made = instance.event_log_storage.get_materialized_partitions(dg.AssetKey("losses"))
    assert {f"{name}-{number}" for name, last in said.items() for number in range(last + 1)} <= made


def test_many_runs_keep_few_files_open(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, KeptSqliteEventLogStorage)
        runs = [f"run-{number}" for number in range(30)]
        for run in runs:
            with storage.run_connection(run) as connection:
                connection.exec_driver_sql("select 1")
        open_files = {link.resolve().name for link in Path("/proc/self/fd").iterdir() if link.exists()}
        assert len([name for name in open_files if name.startswith("run-") and name.endswith(".db")]) <= 8
