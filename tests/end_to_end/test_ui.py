"""`regmix ui` opens a study in Dagster's own interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 300
"""Seconds until the interface has to answer; it takes some ten."""
QUESTION = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  __typename ... on RepositoryLocation { repositories { assetNodes { assetKey { path } } } } } } } } }"""


def asked(port, process):
    """The answer to the question, once there is one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": QUESTION}).encode(),
        {"Content-Type": "application/json"},
    )
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, "the command ended"
            assert time.monotonic() < until, "nothing answers"
            time.sleep(0.5)


def test_the_study_s_assets_are_there(study_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "regmix_pipeline.cli", "ui", "--study", str(study_file), "--port", str(port)]
    # Elsewhere than in the checkout: the command finds the definitions wherever it is called.
    with (tmp_path / "ui.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--home", str(tmp_path / "home")],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        (location,) = asked(port, process)
    except AssertionError as error:
        raise AssertionError(f"{error}: {(tmp_path / 'ui.log').read_text()}") from None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert location["name"] == "regmix_pipeline"
    (repository,) = location["locationOrLoadError"]["repositories"]
    assert {"token_shards", "mixtures", "mixture_decision"} <= {
        node["assetKey"]["path"][0] for node in repository["assetNodes"]
    }
