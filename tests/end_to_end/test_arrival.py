"""A domain arrives at a running Dagster: seen, tokenised and mixed by itself, trained and decided by a click."""

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

import pytest
import yaml

from assets.runner import run_stale
from assets.schedules import TARGETS
from regmix_pipeline.lab import Lab

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 300
"""Seconds that anything may take here before the test fails; most take a few."""


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
            key=[{"path": [name]}],
        )["assetNodes"]
        latest = node["assetMaterializations"]
        node["metadata"] = {
            entry["label"]: next((entry[kind] for kind in ("text", "mdStr", "intRepr") if kind in entry), None)
            for entry in (latest[0]["metadataEntries"] if latest else [])
        }
        return node

    def skips(self, sensor):
        """The latest skip reasons of a sensor, newest first."""
        state = self.ask(
            """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor {
               sensorState { status ticks(limit: 5) { status skipReason } } } } }""",
            s={"repositoryName": "__repository__", "repositoryLocationName": "regmix_pipeline", "sensorName": sensor},
        )["sensorOrError"]["sensorState"]
        assert state["status"] == "RUNNING"
        return [tick["skipReason"] or "" for tick in state["ticks"]]

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
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "regmix_pipeline",
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": [name]} for name in assets],
                },
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return until(
            lambda: next(
                status
                for status in [self.ask(query, id=launched["run"]["runId"])["runOrError"]["status"]]
                if status in ("SUCCESS", "FAILURE", "CANCELED")
            ),
            f"{', '.join(assets)} materialised",
        )


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


@pytest.fixture(scope="module")
def place(real_text, tiny_settings, tmp_path_factory):
    """A study with a watched folder, decided once."""
    folder = tmp_path_factory.mktemp("arrival")
    (folder / "text").mkdir()
    (folder / "inbox").mkdir()
    for path in real_text.iterdir():
        (folder / "text" / path.name).write_bytes(path.read_bytes())
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "domains": {name: tiny_settings["domains"][name] for name in ("code", "licences")},
        "watch": {"address": "inbox", "source": {"jsonl": "*.jsonl"}},
        "regression": {"regressors": ["linear", "exponential"]},
        "mixtures": {"count": 7, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
        "refit": {"cron": "0 3 * * *", "settle_seconds": 2, "look_seconds": 2},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    run_stale(lab_at(folder))
    return folder


def lab_at(folder):
    return Lab(folder / "tiny.yaml", folder / "home", say=lambda line: None)


@contextmanager
def running(folder):
    """The webserver and the daemon, each its own process as in a deployment: `dagster dev` would not end on SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / "home"
    environment = os.environ | {
        "REGMIX_STUDY": str(folder / "tiny.yaml"),
        "REGMIX_HOME": str(home),
        "REGMIX_DATA": str(folder / "data"),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    workspace = ["-w", str(ROOT / "workspace.yaml")]
    commands = {
        "webserver": ["dagster_webserver", *workspace, "-h", "127.0.0.1", "-p", str(port)],
        "daemon": ["dagster._daemon", "run", *workspace],
    }
    processes = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", *command],
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


def browse(dagster, path, picture):
    """The page as Chromium renders it: its text; a picture of it goes to the study's folder."""
    profile = dagster.folder / f"profile-{picture}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    flags += ["--window-size=1500,1700", "--virtual-time-budget=20000"]
    page = subprocess.run(
        [
            CHROMIUM,
            *flags,
            f"--screenshot={dagster.folder / picture}.png",
            "--dump-dom",
            dagster.url + path,
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    return page.stdout


@pytest.mark.timeout(600)
def test_a_folder_arrives_and_ends_in_a_new_decision(place):
    before = lab_at(place).need("mixture_decision").version
    with running(place) as dagster:
        (place / "inbox" / "Not A Name").mkdir()
        shutil.copy(place / "text" / "licences.jsonl", place / "inbox" / "Not A Name")
        (place / "inbox" / "poems").mkdir()
        shutil.copy(place / "text" / "descriptions.jsonl", place / "inbox" / "poems")

        # By itself: the partition, its shards, the inventory and the mixtures.
        until(lambda: "poems" in dagster.asset("token_shards")["partitionKeys"], "the partition is registered")
        until(
            lambda: "poems" in dagster.asset("token_shards")["assetPartitionStatuses"]["materializedPartitions"],
            "the shards are made",
        )
        until(lambda: dagster.asset("mixtures")["metadata"].get("domains arrived") == "poems", "new mixtures")
        assert "'not_a_name'" in dagster.skips("new_domains")[0]

        # Training waits for a click, and says what it asks.
        until(
            lambda: any("refit.max_new_tokens) is 0" in reason for reason in dagster.skips("proxies_within_budget")),
            "training waits",
        )
        keys = dagster.asset("proxy_checkpoints")["partitionKeys"]
        assert dagster.materialise("proxy_checkpoints", keys=keys) == "SUCCESS"
        until(lambda: dagster.skips("proxies_within_budget")[0] == "every proxy is up to date", "losses are measured")
        assert dagster.materialise(*TARGETS) == "SUCCESS"

        after = lab_at(place)
        assert after.need("mixture_decision").version != before
        assert "poems" in after.json("mixture_decision", "decision.json")["mixture"]["weights"]
        shown = dagster.asset("mixture_decision")["metadata"]
        assert shown["decision before"] == before
        assert "| poems | not there |" in shown["before and now"]
        assert shown["before and now"].count("not there") == 1
        assert int(dagster.asset("regressor")["metadata"]["inputs as before"]) > 0
        if CHROMIUM is not None:
            for page, words in (
                ("/assets/domains", ["arrived", "poems", "not_a_name"]),
                ("/assets/mixtures", ["domains arrived", "poems", "proxies to train"]),
                ("/assets/mixture_decision", ["before and now", "decision before", before]),
                ("/assets/token_shards?view=partitions&partition=poems", ["poems", "what changed"]),
            ):
                seen = browse(dagster, page, page.split("/")[2].split("?")[0])
                assert [word for word in words if word not in seen] == [], page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_pictures_are_there(place):
    assert {path.stem for path in place.glob("*.png")} >= {"domains", "mixtures", "mixture_decision", "token_shards"}
