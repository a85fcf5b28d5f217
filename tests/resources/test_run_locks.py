"""Runs whose processes were killed are found and ended; no other run is."""

import json
import os
import signal
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from regmix_pipeline.resources.instance import prepare_instance
from regmix_pipeline.resources.launcher import WatchedRunLauncher
from regmix_pipeline.resources.run_locks import FOLDER, KILLED, RunLock, State, end_dead_runs, state_of

STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance(tmp_path, monkeypatch):
    # Set by what is under test; pytest puts it back.
    monkeypatch.setenv("DAGSTER_HOME", "")
    prepare_instance(tmp_path)
    with dg.DagsterInstance.get() as instance:
        yield instance


def a_run(instance, status):
    return instance.add_run(dg.DagsterRun("work", status=status)).run_id


def its_process(instance, run):
    """A process that holds a run's lock until it is killed."""
    code = "import sys, time; from regmix_pipeline.resources.run_locks import RunLock; "
    code += "RunLock(*sys.argv[1:3]).take('a test')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('held', flush=True); time.sleep(600)", instance.root_directory, run],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_run_is_ended_while_others_stay(instance):
    dead, alive = a_run(instance, STARTED), a_run(instance, STARTED)
    killed, living = its_process(instance, dead), its_process(instance, alive)
    try:
        said = []
        assert end_dead_runs(instance, said.append) == []
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        health = WatchedRunLauncher()
        health.register_instance(instance)
        assert health.check_run_worker_health(instance.get_run_by_id(dead)).status == WorkerStatus.FAILED
        assert health.check_run_worker_health(instance.get_run_by_id(alive)).status == WorkerStatus.RUNNING

        assert end_dead_runs(instance, said.append) == [dead]
        assert len(said) == 1
        assert KILLED in said[0]
        assert instance.get_run_by_id(dead).status == dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(alive).status == STARTED
        assert end_dead_runs(instance, said.append) == []
    finally:
        for process in (killed, living):
            process.kill()
            process.wait()


def test_a_run_of_another_machine_is_left_and_said(instance, tmp_path):
    run = a_run(instance, STARTED)
    process = its_process(instance, run)
    process.kill()
    process.wait()
    note = tmp_path / "dagster" / FOLDER / f"{run}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"host": "elsewhere", "boot": "another", "machine": "m"}))
    assert state_of(instance, instance.get_run_by_id(run)) is State.UNKNOWN
    said = []
    assert end_dead_runs(instance, said.append) == []
    assert "elsewhere" in said[0]
    assert instance.get_run_by_id(run).status == STARTED


def test_a_run_from_before_the_machine_was_restarted_is_dead(instance, tmp_path):
    run = a_run(instance, STARTED)
    with RunLock(instance.root_directory, run).held():
        assert state_of(instance, instance.get_run_by_id(run)) is State.ALIVE
    process = its_process(instance, run)
    process.kill()
    process.wait()
    note = tmp_path / "dagster" / FOLDER / f"{run}.json"
    holder = json.loads(note.read_text())
    note.write_text(json.dumps(holder | {"boot": "an earlier one", "machine": holder["machine"]}))
    expected = State.DEAD if holder["machine"] else State.UNKNOWN
    assert state_of(instance, instance.get_run_by_id(run)) is expected
