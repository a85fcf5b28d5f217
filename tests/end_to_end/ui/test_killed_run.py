"""A run of the UI whose processes are killed: the daemon finds it dead, and nothing waits for it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place(real_text, tiny_settings, tmp_path_factory):
    """A study that was never run, whose proxies take some seconds each."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(real_text, folder / "text")
    proxies = tiny_settings["proxies"] | {"noise": {"mixtures": 0}}
    proxies["training"] = proxies["training"] | {"tokens": 2_097_152}
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "regression": {"regressors": ["linear", "exponential"]},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": proxies,
        "refit": {"look_seconds": 10},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder


def descendants(process):
    """Ids of a process and of all that it started, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def trained(place):
    """How many proxies are trained."""
    return len(list(place.glob("home/proxies/p*/proxy.json")))


def started_run(dagster, backfill):
    """Id of a backfill's run that has started; None where none has. Sensors start runs of their own beside it."""
    runs = dagster.ask(
        "query($tags: [ExecutionTag!]) { runsOrError(filter: {statuses: [STARTED], tags: $tags}) "
        "{ ... on Runs { results { runId } } } }",
        tags=[{"key": "dagster/backfill", "value": backfill}],
    )["runsOrError"]["results"]
    return runs[0]["runId"] if runs else None


def test_a_killed_run_frees_its_slots_for_the_ui_and_for_the_command(place, running, until):
    with running(place) as dagster:
        for stage in ("documents", "tokenizer", "token_shards", "domain_inventory", "mixtures"):
            if stage in ("documents", "token_shards"):
                keys = until(lambda: dagster.asset("token_shards")["partitionKeys"], "the sources are partitions")
                assert dagster.materialise(stage, keys=keys) == "SUCCESS"
            else:
                assert dagster.materialise(stage) == "SUCCESS"
        for _ in range(2):
            backfill = dagster.launch(["proxy_checkpoints"])
            run = until(lambda backfill=backfill: started_run(dagster, backfill), "the run has started")
            note = place / "home" / "dagster" / "run-locks" / f"{run}.json"
            known = trained(place)
            until(lambda known=known: trained(place) > known, "a proxy more is trained")
            for process in descendants(json.loads(note.read_text())["pid"]):
                with contextlib.suppress(ProcessLookupError):  # it ended with the first
                    os.kill(process, signal.SIGKILL)
            assert dagster.end_of_run(run) == "FAILURE"
        subprocess.run(
            [sys.executable, "-m", "regmix_pipeline", "run", "--study", place / "tiny.yaml", "--home", place / "home"],
            check=True,
            timeout=600,
        )
        backfill = dagster.launch(["proxy_checkpoints", "proxy_losses"])
        assert dagster.end_of_backfill(backfill)[0] == "COMPLETED_SUCCESS"
