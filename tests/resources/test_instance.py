"""The files of a Dagster instance."""

import os

import dagster as dg
import pytest

from regmix_pipeline.errors import LedgerError
from regmix_pipeline.resources.instance import opened_instance


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_databases_have_the_permissions_of_other_new_files(tmp_path, monkeypatch, umask):
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by what is under test; pytest puts it back
    before = os.umask(umask)
    try:
        with opened_instance(tmp_path) as instance:
            run = instance.add_run(dg.DagsterRun("work")).run_id
            instance.report_engine_event("an event", run_id=run, job_name="work")
            open_files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.db*")}
    finally:
        os.umask(before)
    assert {"runs.db", "schedules.db", "index.db", f"{run}.db"} <= set(open_files)
    assert set(open_files.values()) == {0o666 & ~umask}


@pytest.mark.parametrize("damage", [lambda whole: b"x" * 5000, lambda whole: whole[: len(whole) // 2]])
@pytest.mark.parametrize("name", ["history/runs/index.db", "history/runs.db", "schedules/schedules.db"])
def test_a_damaged_database_is_named_and_mended_as_the_remedy_says(tmp_path, monkeypatch, name, damage):
    monkeypatch.setenv("DAGSTER_HOME", "")

    def used():
        with opened_instance(tmp_path) as instance:
            run = instance.add_run(dg.DagsterRun("work")).run_id
            instance.report_engine_event("an event", run_id=run, job_name="work")
            instance.get_run_records(limit=1)
            instance.get_latest_materialization_event(dg.AssetKey("a"))
            instance.all_instigator_state()

    used()
    folder = tmp_path / "dagster"
    for beside in (f"{name}-wal", f"{name}-shm"):
        (folder / beside).unlink(missing_ok=True)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(LedgerError, match="is damaged") as caught:
        used()
    assert caught.value.where == str(folder)
    assert caught.value.remedy.startswith("move it away")
    folder.rename(tmp_path / "away")
    used()
