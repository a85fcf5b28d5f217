"""The journal: a line for each record; what a kill leaves is finished or voided, and what was taken away is not."""

import os

import pytest

from regmix_pipeline.engine import records as records_module
from regmix_pipeline.engine.journal import VOID, Head
from regmix_pipeline.engine.records import Record, Records


def record_of(key="a", version="v1", made_at="2026-01-01T00:00:00+00:00"):
    return Record("losses", key, version, "r", {}, {"code": 1}, {"n": 0.5}, ("f",), made_at, 0.1, "run", {"f": "0"})


class Killed(BaseException):
    """As if the process had died here."""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "records"


def test_each_record_has_a_line_that_names_the_one_before(folder):
    records = Records(folder)
    records.save(record_of("a"), record_of("b"))
    records.save(record_of("a", "v2"))
    lines = Records(folder).journal.lines
    assert [(line.number, line.says["key"], line.says["version"]) for line in lines] == [
        (1, "a", "v1"),
        (2, "b", "v1"),
        (3, "a", "v2"),
    ]
    assert [line.says["before"] for line in lines] == ["", lines[0].digest, lines[1].digest]
    assert Records(folder).journal.head == Head(3, lines[2].digest) == records.journal.head
    assert Records(folder).need_unaltered(Records(folder).current("losses", "a")).version == "v2"
    assert all(Records(folder).kept(line.says).is_file() for line in lines)


@pytest.mark.parametrize("how", ["cut", "changed", "added"])
def test_a_line_that_was_taken_out_changed_or_added_breaks_the_chain(folder, how):
    records = Records(folder)
    for key in "abc":
        records.save(record_of(key))
    lines = records.journal.path.read_text().splitlines(keepends=True)
    changed = {
        "cut": lines[:1] + lines[2:],
        "changed": [lines[0], lines[1].replace('"b"', '"x"'), lines[2]],
        "added": [*lines, lines[0]],
    }
    records.journal.path.write_text("".join(changed[how]))
    assert Records(folder).journal.problems


def test_what_a_kill_prevented_is_voided_by_the_next_writer(folder, monkeypatch):
    Records(folder).save(record_of("a"))

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(records_module, "write_together", killed)
        with pytest.raises(Killed):
            Records(folder).save(record_of("b"), record_of("c"))
    after = Records(folder)
    assert after.journal.unfinished(2)
    after.save(record_of("b"))
    assert [line.what for line in after.journal.lines] == ["record", "record", "record", VOID, "record"]
    assert after.journal.voided == {2: 4, 3: 4}
    assert after.journal.problems == []
    assert after.journal.last_record("losses", "c") is None


def test_a_line_that_somebody_saw_with_its_file_is_never_voided(folder):
    records = Records(folder)
    records.save(record_of("a"))
    records.kept(record_of("a")).unlink()
    again = Records(folder)
    again.journal.known_elsewhere = lambda: 1
    again.journal.tend()
    assert [line.what for line in again.journal.lines] == ["record"]
    Records(folder).journal.tend()
    assert Records(folder).journal.voided == {1: 2}


def test_a_record_that_was_kept_and_not_put_in_place_is_put_there(folder):
    records = Records(folder)
    first, second = record_of("a"), record_of("a", "v2")
    records.save(first)
    before = (folder / "current" / "losses" / "a.json").read_bytes()
    records.save(second)
    (folder / "current" / "losses" / "a.json").unlink()
    (folder / "current" / "losses" / "a.json").write_bytes(before)
    again = Records(folder)
    again.journal.tend()
    assert again.current("losses", "a").version == "v2"
    # One that was withdrawn stays so.
    again.forget("losses", "a")
    Records(folder).journal.tend()
    assert Records(folder).current("losses", "a") is None


def test_a_line_that_a_kill_cut_short_does_not_count_and_is_cut_off(folder):
    records = Records(folder)
    records.save(record_of("a"))
    with records.journal.path.open("a") as file:
        file.write('{"number": 2, "what": "rec')
    again = Records(folder)
    assert len(again.journal.lines) == 1
    again.save(record_of("b"))
    assert [line.says["key"] for line in Records(folder).journal.lines] == ["a", "b"]
    assert Records(folder).journal.problems == []


def test_a_record_made_again_keeps_the_one_before_beside_it(folder):
    records = Records(folder)
    records.save(record_of("a"))
    records.save(record_of("a", made_at="2026-01-02T00:00:00+00:00"))
    assert [record.made_at[:10] for record in records.history("losses", "a")] == ["2026-01-01", "2026-01-02"]
    assert [current for _, current in records.all()].count(True) == 1


def test_an_edited_record_is_not_read(folder):
    records = Records(folder)
    records.save(record_of("a"))
    path = folder / "current" / "losses" / "a.json"
    content = path.read_text()
    path.unlink()
    path.write_text(content.replace('"n": 0.5', '"n": 0.6'))
    with pytest.raises(records_module.LedgerError, match="edited or replaced"):
        records.need_unaltered(records.current("losses", "a"))
    assert os.stat(records.kept(record_of("a"))).st_size == len(content)
