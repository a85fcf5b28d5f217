"""What is made again and what is not, with a stage that counts how often it is asked."""

import threading
import time
from dataclasses import replace

import pytest

from regmix_pipeline.decisions.record import lineage_of
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import LedgerError, ProxyError
from regmix_pipeline.files import sha256_of


class Counter:
    """Two stages: `source`, whose keys and contents a test sets, and `sum`, which reads all of them."""

    def __init__(self):
        self.contents = {"a": "1", "b": "2"}
        self.fails: set[str] = set()
        self.made: list[str] = []
        self.source = Stage("source", (), "domain", "1", self._expected_source, self._compute_source)
        self.total = Stage("sum", ("source",), None, "1", self._expected_sum, self._compute_sum)

    def _expected_source(self, workspace):
        return {key: Recipe({}, {"content": content}) for key, content in self.contents.items()}

    def _compute_source(self, workspace, recipes):
        for key in recipes:
            self.made.append(key)
            if key in self.fails:
                yield Output(key, error=ProxyError("out of luck", where=key, remedy="run again"))
                continue
            yield Output(
                key, self.contents[key], {"n": 1}, [workspace.write_json(self.contents[key], "s", f"{key}.json")]
            )

    def _expected_sum(self, workspace):
        return {"all": Recipe(workspace.versions("source", list(self.contents)), {"code": "1"})}

    def _compute_sum(self, workspace, recipes):
        self.made.append("sum")
        yield Output("all", "".join(workspace.need("source", key).version for key in self.contents))


@pytest.fixture
def workspace(study_file, tmp_path):
    return Workspace(study_file, tmp_path / "home", say=lambda line: None)


@pytest.fixture
def counter():
    return Counter()


def in_text(stale):
    """Key -> reason as text."""
    return {key: str(reason) for key, reason in stale.items()}


def run(workspace, stage, keys=None):
    return {made.key: made for made in workspace.materialise(stage, keys)}


def test_what_exists_is_not_made_again(workspace, counter):
    assert in_text(workspace.stale(counter.source)) == {"a": "new", "b": "new"}
    assert not any(made.reused for made in run(workspace, counter.source).values())
    assert workspace.stale(counter.source) == {}
    again = run(workspace, counter.source)
    assert all(made.reused for made in again.values())
    assert counter.made == ["a", "b"]


def test_only_what_changed_is_made_and_the_reason_is_said(workspace, counter):
    run(workspace, counter.source)
    run(workspace, counter.total)
    counter.contents["b"] = "3"
    assert in_text(workspace.stale(counter.source)) == {"b": "settings changed: content"}
    assert workspace.stale(counter.total) == {}
    run(workspace, counter.source)
    assert in_text(workspace.stale(counter.total)) == {"all": "changed: source/b"}
    run(workspace, counter.total)
    assert counter.made == ["a", "b", "sum", "b", "sum"]
    assert workspace.need("sum").inputs == {"source/a": "1", "source/b": "3"}


def test_a_missing_artefact_is_made_again(workspace, counter):
    run(workspace, counter.source)
    workspace.path("s", "a.json").unlink()
    assert in_text(workspace.stale(counter.source)) == {"a": "s/a.json is missing"}
    run(workspace, counter.source)
    assert counter.made == ["a", "b", "a"]


def test_a_failed_partition_keeps_the_others_and_is_tried_again(workspace, counter):
    counter.fails = {"a"}
    made = run(workspace, counter.source)
    assert made["a"].error is not None
    assert made["b"].error is None
    assert list(workspace.stale(counter.source)) == ["a"]
    counter.fails = set()
    run(workspace, counter.source)
    assert counter.made == ["a", "b", "a"]


def test_a_withdrawn_key_leaves_the_current_records_and_stays_in_history(workspace, counter):
    run(workspace, counter.source)
    run(workspace, counter.total)
    del counter.contents["b"]
    assert workspace.withdrawn(counter.source) == ["b"]
    run(workspace, counter.source)
    assert workspace.records.keys("source") == ["a"]
    assert in_text(workspace.stale(counter.total)) == {"all": "changed: source/b"}
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute("select key, current from records where asset = 'source' order by key").fetchall()
    assert rows == [("a", True), ("b", False)]


def test_asking_for_some_partitions_makes_those(workspace, counter):
    run(workspace, counter.source, ["b"])
    assert counter.made == ["b"]
    with pytest.raises(LedgerError, match=r"source: no such partition: z"):
        run(workspace, counter.source, ["z"])


def test_an_upstream_that_was_never_made_is_named(workspace, counter):
    with pytest.raises(LedgerError, match=r"source/a: was not materialised yet"):
        run(workspace, counter.total)


def test_an_interrupted_stage_keeps_what_it_had_finished(workspace, counter):
    stream = workspace.materialise(counter.source)
    next(stream)
    stream.close()
    assert workspace.records.keys("source") == ["a"]
    assert list(workspace.stale(counter.source)) == ["b"]


def test_a_ledger_that_a_killed_run_left_behind_is_built_again_before_anything_reads_it(workspace, counter):
    run(workspace, counter.source)
    stale_ledger = workspace.ledger.read_bytes()
    counter.contents["a"] = "9"
    run(workspace, counter.source)
    # As if the process had died between the last record and the swap of the ledger.
    workspace.ledger.write_bytes(stale_ledger)
    seen = []

    def make(workspace, recipes):
        with read_ledger(workspace.ledger_of()) as connection:
            query = "select version from records where current and asset = 'source' and key = 'a'"
            seen.extend(connection.execute(query).fetchall())
        yield Output("all", "x")

    run(workspace, replace(counter.total, outputs=make))
    assert seen == [("9",)]


def test_a_second_run_waits_for_the_first_and_finds_what_it_made(workspace, counter, study_file):
    said = []
    other = Workspace(study_file, workspace.home, say=said.append)
    first = workspace.materialise(counter.source)
    next(first)
    made = []
    waiting = threading.Thread(target=lambda: made.extend(other.materialise(counter.source)))
    waiting.start()
    deadline = time.monotonic() + 20
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "which is running in" in said[0]
    list(first)
    waiting.join(20)
    assert [item.reused for item in made] == [True, True]
    assert counter.made == ["a", "b"]


def test_lineage_follows_the_versions_that_were_used(workspace, counter):
    run(workspace, counter.source)
    run(workspace, counter.total)
    counter.contents["a"] = "9"
    run(workspace, counter.source)
    assert lineage_of(workspace, "sum") == {"sum/all": "12", "source/a": "1", "source/b": "2"}


def test_a_withdrawn_asset_is_made_again(workspace, counter):
    run(workspace, counter.source)
    workspace.withdraw("source")
    assert in_text(workspace.stale(counter.source)) == {"a": "new", "b": "new"}
    with pytest.raises(LedgerError, match="was not materialised yet"):
        run(workspace, counter.total)


def test_folders_come_from_the_environment_unless_given(study_file, tmp_path, monkeypatch):
    monkeypatch.setenv("REGMIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REGMIX_DATA", str(tmp_path / "corpora"))
    assert (Workspace(study_file).home, Workspace(study_file).data) == (tmp_path / "home", tmp_path / "corpora")
    given = Workspace(study_file, tmp_path / "other", tmp_path / "texts")
    assert (given.home, given.data) == (tmp_path / "other", tmp_path / "texts")


def test_outputs_that_follow_at_once_are_recorded_together_and_reported_once_they_are(workspace, counter):
    counter.contents = {f"k{number}": str(number) for number in range(20)}
    made_when_reported = []

    def make(workspace, recipes):
        for output in counter._compute_source(workspace, recipes):
            yield replace(output, followed=output.key != "k19")

    for made in workspace.materialise(replace(counter.source, outputs=make)):
        assert workspace.records.current("source", made.key) == made.record
        made_when_reported.append(len(counter.made))
    assert made_when_reported == [16] * 16 + [20] * 4
    assert workspace.stale(counter.source) == {}


def test_a_stage_that_breaks_keeps_and_tells_what_it_held(workspace, counter):
    def make(workspace, recipes):
        for output in counter._compute_source(workspace, {"a": recipes["a"]}):
            yield replace(output, followed=True)
        raise ProxyError("out of luck", where="b", remedy="run again")

    stream = workspace.materialise(replace(counter.source, outputs=make))
    assert next(stream).key == "a"
    with pytest.raises(ProxyError, match="out of luck"):
        next(stream)
    assert workspace.records.keys("source") == ["a"]
    assert in_text(workspace.stale(counter.source)) == {"b": "new"}


def test_a_part_is_written_with_its_record_or_not_at_all(workspace, counter):
    row = {"source": "a", "role": "domain"}
    row = dict.fromkeys(column for column in TABLES["domain_inventory"].columns if column != "version") | row

    def make(workspace, recipes):
        for key in recipes:
            workspace.write_rows("domain_inventory", f"version-{key}", [row])
            yield Output(key, f"version-{key}", error=ProxyError("no", where=key) if key == "b" else None)

    run(workspace, replace(counter.source, outputs=make))
    parts = workspace.path("tables", "domain_inventory")
    assert [path.name for path in parts.iterdir()] == ["version-a.parquet"]
    assert workspace.need("source", "a").sums == {
        "tables/domain_inventory/version-a.parquet": sha256_of(next(parts.iterdir()))
    }
