import json
import os
import subprocess
import sys
import threading
import time
from unittest.mock import Mock

import duckdb
import pytest

from regmix_pipeline.engine.ledger import build_ledger, ledger_is_current, read_ledger
from regmix_pipeline.engine.parts import write_part
from regmix_pipeline.engine.records import Recipe, Record, Records, now
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import (
    folder_written_atomically,
    json_by_lines,
    link_together,
    write_together,
    written_atomically,
)


def record_of(asset="mixtures", key="all", version="v1", inputs=None, recipe="r1"):
    parts = {f"tables/{asset}/{version}.parquet": "0" * 64}
    return Record(asset, key, version, recipe, inputs or {}, {"code": "1"}, {"n": 1}, (), now(), 0.1, "run-1", parts)


def mixture_row(**changes):
    return {
        "version": "v1",
        "mixture": "m1",
        "position": 0,
        "origin": "sampled",
        "round": 1,
        "drawn_under": None,
        "domain": "a",
        "weight": 1.0,
    } | changes


@pytest.fixture
def place(tmp_path):
    return Records(tmp_path / "records"), tmp_path / "tables", tmp_path / "ledger.duckdb"


def test_ledger_holds_every_part_and_marks_what_is_current(place):
    records, parts, ledger = place
    for version in ("v1", "v2"):
        write_part(parts, "mixtures", version, [mixture_row(version=version, mixture=f"m-{version}")])
        records.save(record_of(version=version, inputs={"domain_inventory/all": f"i-{version}"}))
    build_ledger(records, parts, ledger)
    with read_ledger(ledger) as connection:
        assert connection.execute("select count(*) from mixtures").fetchall() == [(2,)]
        assert connection.execute("select mixture from current_mixtures").fetchall() == [("m-v2",)]
        lineage = connection.execute("select version, input_asset, input_key, input_version from lineage order by 1")
        assert lineage.fetchall() == [
            ("v1", "domain_inventory", "all", "i-v1"),
            ("v2", "domain_inventory", "all", "i-v2"),
        ]
        tables = {row[0] for row in connection.execute("select table_name from duckdb_tables()").fetchall()}
    assert set(TABLES) <= tables


@pytest.mark.parametrize("name", ["a b[12]*?'q\"ü%20#x{y}", "why?x", "back\\slash", "**", "run=3", "[!a]", "new\nline"])
def test_a_home_may_lie_under_any_name(tmp_path, name):
    home = tmp_path / name / "home"
    records, parts, ledger = Records(home / "records"), home / "tables", home / "ledger.duckdb"
    write_part(parts, "mixtures", "v1", [mixture_row()])
    records.save(record_of())
    # What the name would match as a pattern is another home.
    write_part(tmp_path / "zz" / "home" / "tables", "mixtures", "v1", [mixture_row(mixture="other")])
    for _ in range(2):
        build_ledger(records, parts, ledger)
        assert ledger_is_current(records, ledger)
        with read_ledger(ledger) as reader:
            assert reader.execute("select mixture from current_mixtures").fetchall() == [("m1",)]
    assert sorted(os.listdir(tmp_path)) == sorted([name, "zz"])


def test_a_reader_is_never_shut_out_and_keeps_its_snapshot(place):
    records, parts, ledger = place
    build_ledger(records, parts, ledger)
    with read_ledger(ledger) as reader:
        write_part(parts, "mixtures", "v1", [mixture_row()])
        records.save(record_of())
        build_ledger(records, parts, ledger)
        assert reader.execute("select count(*) from mixtures").fetchall() == [(0,)]
    with read_ledger(ledger) as reader:
        assert reader.execute("select count(*) from mixtures").fetchall() == [(1,)]


def test_builders_at_the_same_time_leave_one_whole_ledger(place, tmp_path):
    records, parts, ledger = place
    write_part(parts, "mixtures", "v1", [mixture_row()])
    records.save(record_of())
    threads = [threading.Thread(target=build_ledger, args=(records, parts, ledger)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with read_ledger(ledger) as reader:
        assert reader.execute("select count(*) from current_mixtures").fetchall() == [(1,)]
    assert not [name for name in os.listdir(tmp_path) if ".tmp" in name]


def test_rows_must_fit_the_table(place):
    _, parts, _ = place
    with pytest.raises(LedgerError, match=r"mixtures: columns do not match.*colour"):
        write_part(parts, "mixtures", "v1", [mixture_row(colour="red")])
    assert not list(parts.rglob("*.parquet"))


def test_older_parts_lack_later_columns(place):
    records, parts, ledger = place
    (parts / "mixtures").mkdir(parents=True)
    duckdb.sql(
        f"copy (select 'v0' as version, 'm0' as mixture, 'a' as domain, 1.0::double as weight) "
        f"to '{parts}/mixtures/v0.parquet'"
    )
    write_part(parts, "mixtures", "v1", [mixture_row()])
    for version in ("v0", "v1"):
        records.save(record_of(version=version))
    build_ledger(records, parts, ledger)
    with read_ledger(ledger) as reader:
        rows = reader.execute("select mixture, position from mixtures order by mixture").fetchall()
    assert rows == [("m0", None), ("m1", 0)]


def test_a_part_that_no_record_names_is_left_out(place):
    records, parts, ledger = place
    write_part(parts, "mixtures", "v1", [mixture_row()])
    records.save(record_of())
    write_part(parts, "mixtures", "v2", [mixture_row(version="v2", mixture="planted")])
    build_ledger(records, parts, ledger)
    with read_ledger(ledger) as reader:
        assert reader.execute("select mixture from mixtures").fetchall() == [("m1",)]


def test_a_full_disk_leaves_nothing_behind(place, small_disk):
    records, parts, _ = place
    size, ledger = 4 * 2**20, small_disk / "ledger.duckdb"
    subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
    # Random, so that nothing compresses it.
    rows = [mixture_row(mixture=os.urandom(50).hex(), position=number) for number in range(size // 100)]
    write_part(parts, "mixtures", "v1", rows)
    records.save(record_of())
    with pytest.raises((duckdb.Error, OSError)):
        build_ledger(records, parts, ledger)
    assert [path.name for path in small_disk.iterdir()] == ["ledger.lock"]


def test_no_ledger_yet_is_a_clear_error(tmp_path):
    with pytest.raises(LedgerError, match="no ledger yet"), read_ledger(tmp_path / "ledger.duckdb"):
        pass


def test_history_is_kept_when_the_current_version_changes(place):
    records, _, _ = place
    records.save(record_of(version="v1"))
    records.save(record_of(version="v2", recipe="r2"))
    assert records.current("mixtures").version == "v2"
    assert [(record.version, current) for record, current in records.all()] == [("v1", False), ("v2", True)]
    records.forget("mixtures", "all")
    assert records.current("mixtures") is None
    assert len(list(records.all())) == 2


def test_recipes_differ_by_inputs_and_settings_only():
    one = Recipe({"a/x": "1", "b/y": "2"}, {"code": "1"})
    assert one.id == Recipe({"b/y": "2", "a/x": "1"}, {"code": "1"}).id
    assert one.id != Recipe({"a/x": "1", "b/y": "3"}, {"code": "1"}).id
    assert one.id != Recipe({"a/x": "1", "b/y": "2"}, {"code": "2"}).id


def _write_half(writing, path, name=""):
    with writing(path) as temporary:
        (temporary / name if name else temporary).write_text("half")
        raise ValueError("stop")


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="stop"):
        _write_half(written_atomically, path)
    assert path.read_text() == "old"
    with pytest.raises(ValueError, match="stop"):
        _write_half(folder_written_atomically, tmp_path / "f", "half")
    assert os.listdir(tmp_path) == ["x.json"]


REWRITE_FOR_EVER = """
import json, pathlib, sys
from regmix_pipeline.files import written_atomically
while True:
    with written_atomically(pathlib.Path(sys.argv[1])) as temporary:
        temporary.write_text(json.dumps({"payload": "x" * 200_000}))
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "x.json"
    for _ in range(5):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", REWRITE_FOR_EVER, str(path)])
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.kill()
        writer.wait()
        assert len(json.loads(path.read_text())["payload"]) == 200_000


def test_files_written_together_are_all_there_or_none_has_its_name(tmp_path):
    whole = {tmp_path / "a" / "one.json": b"1", tmp_path / "b" / "c" / "two.json": b"2"}
    write_together(whole)
    assert {path: path.read_bytes() for path in whole} == whole
    with pytest.raises(TypeError):
        write_together({tmp_path / "a" / "one.json": b"9", tmp_path / "a" / "three.json": "no bytes"})  # type: ignore
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one.json"]
    assert (tmp_path / "a" / "one.json").read_bytes() == b"1"


@pytest.mark.parametrize("links", [True, False])
def test_a_further_name_holds_the_same_bytes_with_links_or_without(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr("os.link", Mock(side_effect=OSError("no links here")))
    file, name = tmp_path / "kept.json", tmp_path / "current" / "it.json"
    for content in (b"old", b"new"):
        write_together({file: content})
        link_together({name: file})
        assert name.read_bytes() == content
        assert name.samefile(file) == links
    assert [path.name for path in name.parent.iterdir()] == ["it.json"]


def test_an_object_by_lines_reads_as_it_was(tmp_path):
    value = {"text": 'é \n"', "numbers": [1, 2.5, 1e-7], "nested": {"a": {"b": None}}, "none": {}}
    written = json_by_lines(value)
    assert json.loads(written) == value
    assert len(written.splitlines()) == len(value) + 2
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_by_lines({"x": float("nan")})
