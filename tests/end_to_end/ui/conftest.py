"""Dagster as a person meets it: a webserver and a daemon of their own, spoken to by GraphQL or clicked in Chromium."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from regmix_pipeline.resources.instance import prepare_instance

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
PATIENCE = 600
"""Seconds that anything may take here before the test fails; most take a few."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
STUDY = "tiny"
"""Name of the studies here: their asset keys begin with it."""
DAEMON = """
import dagster._daemon.controller
dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 3
dagster._daemon.controller.RELOAD_WORKSPACE_INTERVAL = 3600
from dagster._daemon.cli import main
main()
"""
"""Dagster's daemon, which looks at backfills more often than every half minute, since these tests wait for it, and
loads the same code only once."""
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "regmix_pipeline"}


class Dagster:
    """A webserver and a daemon on a study, spoken to as the UI does."""

    def __init__(self, folder, port):
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"

    def ask(self, query, **variables):
        """The answer to a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = json.load(answer)
        assert "errors" not in data, data["errors"]
        return data["data"]

    def asset(self, name):
        """Partitions of an asset, those that are made, and its latest metadata as text."""
        (node,) = self.ask(
            """query($key: [AssetKeyInput!]) { assetNodes(assetKeys: $key) { partitionKeys
               assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions } }
               assetMaterializations(limit: 1) { metadataEntries { label
                 ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr }
                 ... on IntMetadataEntry { intRepr } } } } }""",
            key=[{"path": [STUDY, name]}],
        )["assetNodes"]
        latest = node["assetMaterializations"]
        node["metadata"] = {
            entry["label"]: next((entry[kind] for kind in ("text", "mdStr", "intRepr") if kind in entry), None)
            for entry in (latest[0]["metadataEntries"] if latest else [])
        }
        return node

    def skips(self, sensor):
        """The latest skip reasons of a sensor, newest first, but for a tick that has not ended."""
        state = self.ask(
            """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor {
               sensorState { status ticks(limit: 5) { status skipReason } } } } }""",
            s={**REPOSITORY, "sensorName": sensor},
        )["sensorOrError"]["sensorState"]
        assert state["status"] == "RUNNING"
        return [tick["skipReason"] or "" for tick in state["ticks"] if tick["status"] != "STARTED"]

    def materialise(self, *assets, keys=()):
        """What a click on Materialize does; waits for the end of the run and returns its status."""
        ends = {"start": keys[0], "end": keys[-1]} if keys else {}
        launched = self.ask(
            """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
               __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            p={
                "mode": "default",
                "runConfigData": {},
                "executionMetadata": {
                    "tags": [{"key": f"dagster/asset_partition_range_{end}", "value": key} for end, key in ends.items()]
                },
                "selector": {
                    **REPOSITORY,
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [STUDY, name]} for name in assets],
                },
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return self.end_of_run(launched["run"]["runId"], f"{', '.join(assets)} materialised")

    def end_of_run(self, run, what="the run has ended"):
        """The status that a run ends with."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return until(
            lambda: next(status for status in [self.ask(query, id=run)["runOrError"]["status"]] if status in ENDED),
            what,
        )

    def end_of_backfill(self, backfill):
        """The status that a backfill ends with, and those of its runs."""
        query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
            status runs(limit: 50) { status } } } }"""

        def ended():
            found = self.ask(query, id=backfill)["partitionBackfillOrError"]
            return found if found["status"] not in ("REQUESTED", "CANCELING", "FAILING") else None

        found = until(ended, "the backfill has ended")
        return found["status"], {run["status"] for run in found["runs"]}

    def launch(self, assets, keys=None):
        """A backfill of some partitions of assets, or of all; returns its id."""
        which = {"allPartitions": True} if keys is None else {"partitionNames": list(keys)}
        launched = self.ask(
            """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
               ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            p={"assetSelection": [{"path": [STUDY, name]} for name in assets], **which},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def checks(self):
        """Asset -> what its check `up_to_date` says, None where it was not evaluated."""
        nodes = self.ask(
            """{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name
               executionForLatestMaterialization { status evaluation { description success } } } } } } }"""
        )["assetNodes"]
        found = {}
        for node in nodes:
            (check,) = [each for each in node["assetChecksOrError"]["checks"] if each["name"] == "up_to_date"]
            execution = check["executionForLatestMaterialization"]
            found[node["assetKey"]["path"][-1]] = ((execution or {}).get("evaluation") or {}).get("description")
        return found

    def observations(self, asset, key):
        """Metadata of the latest observations of a partition, newest first: label -> text."""
        (node,) = self.ask(
            """query($key: [AssetKeyInput!], $of: [String!]) { assetNodes(assetKeys: $key) {
               assetObservations(limit: 20, partitions: $of) { metadataEntries { label
                 ... on TextMetadataEntry { text } } } } }""",
            key=[{"path": [STUDY, asset]}],
            of=[key],
        )["assetNodes"]
        return [
            {entry["label"]: entry.get("text") for entry in seen["metadataEntries"]}
            for seen in node["assetObservations"]
        ]


def until(question, what):
    """Ask every second until the answer is true, and return it. Fails when that takes too long."""
    problem, end = None, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if answer := question():
                return answer
        except (urllib.error.URLError, ConnectionError, StopIteration) as error:
            problem = error
        time.sleep(1)
    raise AssertionError(f"waited {PATIENCE} s for: {what} ({problem or 'never true'})")


@contextmanager
def running(folder):
    """The webserver and the daemon, each its own process as in a deployment: `dagster dev` would not end on SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / "home"
    # Two processes that make the tables of a new instance at once would stumble over each other.
    with dg.DagsterInstance.from_config(str(prepare_instance(home))) as instance:
        instance.all_instigator_state()
    environment = os.environ | {
        "REGMIX_STUDY": str(folder / "tiny.yaml"),
        "REGMIX_HOME": str(home),
        "REGMIX_DATA": str(folder / "data"),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    workspace = ["-w", str(ROOT / "workspace.yaml")]
    commands = {
        "webserver": ["-m", "dagster_webserver", *workspace, "-h", "127.0.0.1", "-p", str(port)],
        "daemon": ["-c", DAEMON, "run", *workspace],
    }
    processes = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        cwd=ROOT,
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        dagster = Dagster(folder, port)
        until(lambda: dagster.skips("new_domains"), "the first look at the domains")
        yield dagster
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(name="running", scope="session")
def _running():
    """A context manager: the webserver and the daemon on the study ``tiny.yaml`` in a folder."""
    return running


@pytest.fixture(scope="session")
def dagster_at():
    """``dagster_at(folder, port)``: a webserver that listens there, spoken to as the UI does."""
    return Dagster


@pytest.fixture(name="until", scope="session")
def _until():
    """Asks until the answer is true."""
    return until


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a screen; the test is skipped where there is none.

    For one module: while it is open, an event loop runs in this process, and other tests start their own.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install -e .[dev]")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """An empty page, as large as a screen."""
    made = browser.new_page(viewport={"width": 1600, "height": 1200})
    made.set_default_timeout(60_000)
    yield made
    made.close()
