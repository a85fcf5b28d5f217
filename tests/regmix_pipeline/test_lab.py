"""What is made again and what is not, with a stage that counts how often it is asked."""

import threading
import time
from dataclasses import replace

import pytest

from regmix_pipeline.decisions.record import lineage_of
from regmix_pipeline.errors import LedgerError, ProxyError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import Recipe
from regmix_pipeline.ledger.tables import TABLES


class Counter:
    """Two stages: `source`, whose keys and contents a test sets, and `sum`, which reads all of them."""

    def __init__(self):
        self.contents = {"a": "1", "b": "2"}
        self.fails: set[str] = set()
        self.made: list[str] = []
        self.source = Stage("source", (), "domain", "1", self._source_wanted, self._source_make)
        self.total = Stage("sum", ("source",), None, "1", self._sum_wanted, self._sum_make)

    def _source_wanted(self, lab):
        return {key: Recipe({}, {"content": content}) for key, content in self.contents.items()}

    def _source_make(self, lab, recipes):
        for key in recipes:
            self.made.append(key)
            if key in self.fails:
                yield Output(key, error=ProxyError("out of luck", where=key, remedy="run again"))
                continue
            yield Output(key, self.contents[key], {"n": 1}, [lab.write_json(self.contents[key], "s", f"{key}.json")])

    def _sum_wanted(self, lab):
        return {"all": Recipe(lab.versions("source", list(self.contents)), {"code": "1"})}

    def _sum_make(self, lab, recipes):
        self.made.append("sum")
        yield Output("all", "".join(lab.need("source", key).version for key in self.contents))


@pytest.fixture
def lab(study_file, tmp_path):
    return Lab(study_file, tmp_path / "home", say=lambda line: None)


@pytest.fixture
def counter():
    return Counter()


def in_text(stale):
    """Key -> reason as text."""
    return {key: str(reason) for key, reason in stale.items()}


def run(lab, stage, keys=None):
    return {made.key: made for made in lab.materialise(stage, keys)}


def test_what_exists_is_not_made_again(lab, counter):
    assert in_text(lab.stale(counter.source)) == {"a": "new", "b": "new"}
    assert not any(made.reused for made in run(lab, counter.source).values())
    assert lab.stale(counter.source) == {}
    again = run(lab, counter.source)
    assert all(made.reused for made in again.values())
    assert counter.made == ["a", "b"]


def test_only_what_changed_is_made_and_the_reason_is_said(lab, counter):
    run(lab, counter.source)
    run(lab, counter.total)
    counter.contents["b"] = "3"
    assert in_text(lab.stale(counter.source)) == {"b": "settings changed: content"}
    assert lab.stale(counter.total) == {}
    run(lab, counter.source)
    assert in_text(lab.stale(counter.total)) == {"all": "changed: source/b"}
    run(lab, counter.total)
    assert counter.made == ["a", "b", "sum", "b", "sum"]
    assert lab.need("sum").inputs == {"source/a": "1", "source/b": "3"}


def test_a_missing_artefact_is_made_again(lab, counter):
    run(lab, counter.source)
    lab.path("s", "a.json").unlink()
    assert in_text(lab.stale(counter.source)) == {"a": "s/a.json is missing"}
    run(lab, counter.source)
    assert counter.made == ["a", "b", "a"]


def test_a_failed_partition_keeps_the_others_and_is_tried_again(lab, counter):
    counter.fails = {"a"}
    made = run(lab, counter.source)
    assert made["a"].error is not None
    assert made["b"].error is None
    assert list(lab.stale(counter.source)) == ["a"]
    counter.fails = set()
    run(lab, counter.source)
    assert counter.made == ["a", "b", "a"]


def test_a_withdrawn_key_leaves_the_current_records_and_stays_in_history(lab, counter):
    run(lab, counter.source)
    run(lab, counter.total)
    del counter.contents["b"]
    assert lab.withdrawn(counter.source) == ["b"]
    run(lab, counter.source)
    assert lab.records.keys("source") == ["a"]
    assert in_text(lab.stale(counter.total)) == {"all": "changed: source/b"}
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute("select key, current from records where asset = 'source' order by key").fetchall()
    assert rows == [("a", True), ("b", False)]


def test_asking_for_some_partitions_makes_those(lab, counter):
    run(lab, counter.source, ["b"])
    assert counter.made == ["b"]
    with pytest.raises(LedgerError, match=r"source: no such partition: z"):
        run(lab, counter.source, ["z"])


def test_an_upstream_that_was_never_made_is_named(lab, counter):
    with pytest.raises(LedgerError, match=r"source/a: was not materialised yet"):
        run(lab, counter.total)


def test_an_interrupted_stage_keeps_what_it_had_finished(lab, counter):
    stream = lab.materialise(counter.source)
    next(stream)
    stream.close()
    assert lab.records.keys("source") == ["a"]
    assert list(lab.stale(counter.source)) == ["b"]


def test_a_ledger_that_a_killed_run_left_behind_is_built_again_before_anything_reads_it(lab, counter):
    run(lab, counter.source)
    stale_ledger = lab.ledger.read_bytes()
    counter.contents["a"] = "9"
    run(lab, counter.source)
    # As if the process had died between the last record and the swap of the ledger.
    lab.ledger.write_bytes(stale_ledger)
    seen = []

    def make(lab, recipes):
        with read_ledger(lab.ledger_of()) as connection:
            query = "select version from records where current and asset = 'source' and key = 'a'"
            seen.extend(connection.execute(query).fetchall())
        yield Output("all", "x")

    run(lab, replace(counter.total, outputs=make))
    assert seen == [("9",)]


def test_a_second_run_waits_for_the_first_and_finds_what_it_made(lab, counter, study_file):
    said = []
    other = Lab(study_file, lab.home, say=said.append)
    first = lab.materialise(counter.source)
    next(first)
    made = []
    waiting = threading.Thread(target=lambda: made.extend(other.materialise(counter.source)))
    waiting.start()
    deadline = time.monotonic() + 20
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "which is at work in" in said[0]
    list(first)
    waiting.join(20)
    assert [item.reused for item in made] == [True, True]
    assert counter.made == ["a", "b"]


def test_lineage_follows_the_versions_that_were_used(lab, counter):
    run(lab, counter.source)
    run(lab, counter.total)
    counter.contents["a"] = "9"
    run(lab, counter.source)
    assert lineage_of(lab, "sum") == {"sum/all": "12", "source/a": "1", "source/b": "2"}


def test_a_withdrawn_asset_is_made_again(lab, counter):
    run(lab, counter.source)
    lab.withdraw("source")
    assert in_text(lab.stale(counter.source)) == {"a": "new", "b": "new"}
    with pytest.raises(LedgerError, match="was not materialised yet"):
        run(lab, counter.total)


def test_folders_come_from_the_environment_unless_given(study_file, tmp_path, monkeypatch):
    monkeypatch.setenv("REGMIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REGMIX_DATA", str(tmp_path / "corpora"))
    assert (Lab(study_file).home, Lab(study_file).data) == (tmp_path / "home", tmp_path / "corpora")
    given = Lab(study_file, tmp_path / "other", tmp_path / "texts")
    assert (given.home, given.data) == (tmp_path / "other", tmp_path / "texts")


def test_outputs_that_follow_at_once_are_recorded_together_and_told_once_they_are(lab, counter):
    counter.contents = {f"k{number}": str(number) for number in range(20)}
    made_when_told = []

    def make(lab, recipes):
        for output in counter._source_make(lab, recipes):
            yield replace(output, followed=output.key != "k19")

    for made in lab.materialise(replace(counter.source, outputs=make)):
        assert lab.records.current("source", made.key) == made.record
        made_when_told.append(len(counter.made))
    assert made_when_told == [16] * 16 + [20] * 4
    assert lab.stale(counter.source) == {}


def test_a_stage_that_breaks_keeps_and_tells_what_it_held(lab, counter):
    def make(lab, recipes):
        for output in counter._source_make(lab, {"a": recipes["a"]}):
            yield replace(output, followed=True)
        raise ProxyError("out of luck", where="b", remedy="run again")

    stream = lab.materialise(replace(counter.source, outputs=make))
    assert next(stream).key == "a"
    with pytest.raises(ProxyError, match="out of luck"):
        next(stream)
    assert lab.records.keys("source") == ["a"]
    assert in_text(lab.stale(counter.source)) == {"b": "new"}


def test_a_part_is_written_with_its_record_or_not_at_all(lab, counter):
    row = {"source": "a", "role": "domain"}
    row = dict.fromkeys(column for column in TABLES["domain_inventory"].columns if column != "version") | row

    def make(lab, recipes):
        for key in recipes:
            lab.write_rows("domain_inventory", f"version-{key}", [row])
            yield Output(key, f"version-{key}", error=ProxyError("no", where=key) if key == "b" else None)

    run(lab, replace(counter.source, outputs=make))
    parts = lab.path("tables", "domain_inventory")
    assert [path.name for path in parts.iterdir()] == ["version-a.parquet"]
    assert lab.need("source", "a").sums == {
        "tables/domain_inventory/version-a.parquet": sha256_of(next(parts.iterdir()))
    }
