"""`regmix ui` opens a study in Dagster's own interface."""

import json
import signal
import socket
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


def a_free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_study_s_assets_are_there_and_sigterm_ends_all_processes(study):
    port = a_free_port()
    ui = study.start("ui", "--port", str(port))
    try:
        (location,) = asked(port, ui.process)
        assert location["name"] == "regmix_pipeline"
        (repository,) = location["locationOrLoadError"]["repositories"]
        assert {"token_shards", "mixtures", "mixture_decision"} <= {
            node["assetKey"]["path"][-1] for node in repository["assetNodes"]
        }
        second = study.does("ui", "--port", str(a_free_port()), status=1)
        assert f"is open in the UI already: http://127.0.0.1:{port}" in second
        ui.signal(signal.SIGTERM, "first")
        assert ui.ended() == 143, ui.text
        ui.gone()
        assert "Traceback" not in ui.text
    finally:
        ui.kill_all()


def test_its_processes_end_with_a_command_that_is_killed(study):
    port = a_free_port()
    ui = study.start("ui", "--port", str(port))
    try:
        asked(port, ui.process)
        ui.kill("first")
        ui.gone()
    finally:
        ui.kill_all()


def test_a_port_that_is_taken_is_named(study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = study.does("ui", "--port", str(port), status=1)
    assert f"127.0.0.1:{port}: cannot listen there" in said
    assert "--port" in said
