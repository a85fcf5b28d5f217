"""A cluster that loses a node or its head, by the real command: Ray's words are in a log, and the user is informed."""

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ray")
MEMORY = 80 * 2**20


@pytest.fixture
def cluster(monkeypatch):
    """A head that runs no task, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    # Workers import this package, wherever it is.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.nodes = [made.add_node(num_cpus=1, object_store_memory=MEMORY) for _ in range(2)]
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def on_ray(study, change_study, cluster):
    """The study, whose proxies are trained on the cluster."""
    change_study(
        {
            "mixtures.count": 8,
            "proxies.noise": {"mixtures": 0},
            "proxies.training.tokens": 65_536,
            "proxies.evaluation.windows": 16,
            "proxies.engine": {"kind": "ray", "address": cluster.address},
            "confirmation": None,
            "regression": {"regressors": ["linear"], "bootstrap": 50, "extrapolation": "off"},
            "search": {"candidates": 500, "screen": 200},
        }
    )
    return study


@pytest.mark.kills
def test_a_lost_node_is_in_ray_s_log_and_not_on_the_terminal(on_ray, cluster):
    command = on_ray.start("run", "--json").says(r"proxy_checkpoints +\d")
    cluster.remove_node(cluster.nodes[1], allow_graceful=False)
    assert command.ended() == 0, command.text
    assert json.loads(command.output)["decision"]
    said = "\n".join(command.lines)
    assert not re.search(r"raylet|WARNING|Traceback", said)
    log = on_ray.home / "ray.log"
    assert f"Ray: what it printed meanwhile is in {log}" in said
    assert "raylet" in log.read_text()


@pytest.mark.kills
def test_a_lost_head_is_an_error_that_names_ray_s_log(on_ray, cluster):
    # Seconds for which Ray looks for a head that is gone.
    patience = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    command = on_ray.start("run", environment=patience).says(r"proxy_checkpoints +\d")
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    assert command.ended() == 1, command.text
    log = re.escape(str(on_ray.home / "ray.log"))
    assert re.search(
        rf"error: proxy_checkpoints: {log}: the process that speaks to the Ray cluster ended", command.text
    )
    assert command.text.count("remedy:") == 1
    settings = yaml.safe_load((on_ray.folder / "tiny.yaml").read_text())
    settings["proxies"]["engine"] = {"kind": "local"}
    (on_ray.folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    on_ray.does("run")
