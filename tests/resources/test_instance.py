"""The files of a Dagster instance."""

import os

import dagster as dg
import pytest

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
