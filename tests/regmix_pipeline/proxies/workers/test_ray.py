"""A real Ray cluster of two nodes on this machine: workers, nodes and drivers that die lose nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.study.settings.proxies import TrainingSettings
from regmix_pipeline.study.settings.workers import EngineSettings

pytest.importorskip("ray")
LONGER = TrainingSettings(tokens=16 * 8 * 400, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)


@pytest.fixture(scope="module")
def cluster():
    """A head that runs no task, and two nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    room = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        # Workers import this package, wherever it is.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **room})
        made.first, made.second = (made.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2))
        made.wait_for_nodes()
        ray.init(address=made.address, log_to_driver=False, logging_level="error")
        yield made
        ray.shutdown()
        made.shutdown()


def trainer(cluster, said=None, **settings):
    from regmix_pipeline.proxies.workers.ray import RayExecutor

    say = (said if said is not None else []).append
    return RayExecutor(EngineSettings(kind="ray", address=cluster.address, **settings), say)


def at_work():
    """Process ids of Ray workers that train at this moment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes().startswith(b"ray::proxy_task"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def kill_one_at_work(after=0.3, wait=60):
    until = time.monotonic() + wait
    while time.monotonic() < until:
        working = at_work()
        if working:
            time.sleep(after)
            os.kill(working[0], signal.SIGKILL)
            return
        time.sleep(0.02)
    raise AssertionError("nothing was at work")


def kill_in_training(specs, wait=60):
    """Kill the workers once a training has a snapshot to continue from, when most of its steps are still ahead."""
    until = time.monotonic() + wait
    while time.monotonic() < until:
        begun = any(spec.snapshot.is_file() and not spec.is_finished for spec in specs)
        working = at_work() if begun else []
        for process in working:
            os.kill(process, signal.SIGKILL)
        if working:
            return
        time.sleep(0.005)
    raise AssertionError("nothing was trained")


@pytest.mark.parametrize(
    ("through", "stack"),
    [
        ("disk", 1),
        pytest.param("disk", 4, marks=pytest.mark.slow),
        pytest.param("store", 1, marks=pytest.mark.slow),
        ("store", 4),
    ],
)
def test_a_cluster_trains_the_same_proxies_as_this_machine(cluster, spec_of, tmp_path, at_home, bits, through, stack):
    from regmix_pipeline.proxies.workers.choose import ThroughStore
    from regmix_pipeline.proxies.workers.store import Store

    specs = [spec_of(seed=seed) for seed in range(5)]
    diverging = spec_of(training=specs[0].training.model_copy(update={"learning_rate": 1e30}))
    if through == "disk":
        engine = trainer(cluster, stack=stack)
    else:
        address = str(tmp_path / "store")
        there = trainer(cluster, store=address, cache=str(tmp_path / "cache"), stack=stack)
        engine = ThroughStore(there, Store(address))
    results = {result.task.id: result for result in engine.run([*specs, diverging, specs[0]])}
    assert len(results) == 6
    assert isinstance(results[diverging.id].error, ProxyError)
    assert diverging.id in str(results[diverging.id].error)
    assert [results[spec.id].error for spec in specs] == [None] * 5
    # Six proxies of one shape on two nodes of a core each: two stacks. The one that cannot be read is in neither.
    stacked = [results[spec.id].value.get("stacked", 1) for spec in specs]
    assert stacked == ([1] * 5 if stack == 1 else [3, 3, 3, 2, 2])
    assert {spec.id: bits(spec.output) for spec in specs} == at_home(specs)
    assert all(result.reused for result in engine.run(specs))


@pytest.mark.kills
def test_a_killed_worker_costs_nothing_but_time(cluster, spec_of, at_home, bits):
    specs = [spec_of(seed=seed, training=LONGER, snapshot_seconds=0.0) for seed in range(4)]
    results = []
    for result in trainer(cluster).run(specs):
        if not results:
            kill_in_training(specs)
        results.append(result)
    assert sorted(result.task.id for result in results) == sorted(spec.id for spec in specs)
    assert [result.error for result in results] == [None] * 4
    assert any(result.value["continued_from_step"] for result in results)
    assert {spec.id: bits(spec.output) for spec in specs} == at_home(specs)


DRIVER = textwrap.dedent(
    """
    import json, pathlib, sys
    from regmix_pipeline.proxies.workers.ray import RayExecutor
    from regmix_pipeline.study.settings.workers import EngineSettings
    from regmix_pipeline.proxies.spec import ProxySpec

    specs = [ProxySpec.model_validate(spec) for spec in json.loads(pathlib.Path(sys.argv[1]).read_text())]
    for result in RayExecutor(EngineSettings(kind="ray", address=sys.argv[2])).run(specs):
        print(result.task.id, result.reused, result.error, flush=True)
    """
)


@pytest.mark.kills
def test_a_killed_driver_finds_what_was_finished(cluster, spec_of, tmp_path, at_home, bits):
    import json

    specs = [spec_of(seed=seed, training=LONGER, snapshot_seconds=0.0) for seed in range(10, 15)]
    tasks = tmp_path / "specs.json"
    tasks.write_text(json.dumps([spec.model_dump(mode="json") for spec in specs]))
    command = [sys.executable, "-c", DRIVER, str(tasks), cluster.address]

    def driver():
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4])

    first = driver()
    done = [first.stdout.readline() for _ in range(2)]
    first.kill()
    first.wait()
    assert all(line.endswith("False None\n") for line in done), done
    second = driver()
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 0
    lines = [line.split() for line in told.splitlines()]
    assert sorted(name for name, *_ in lines) == sorted(spec.id for spec in specs)
    assert {name for name, reused, _ in lines if reused == "True"} >= {line.split()[0] for line in done}
    assert all(error == "None" for *_, error in lines)
    assert {spec.id: bits(spec.output) for spec in specs} == at_home(specs)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"cpus_per_proxy": 1.5}, "it takes 1.5 CPUs of one node, and the most that any has is 1 CPU"),
        ({"gpus_per_proxy": 0.25}, "it takes 0.25 GPUs of one node, and the most that any has is 0 GPUs"),
    ],
)
def test_a_proxy_that_no_node_can_hold_is_refused_at_once(cluster, spec_of, asked, told):
    with pytest.raises(ProxyError, match=told) as caught:
        list(trainer(cluster, **asked).run([spec_of()]))
    assert caught.value.where == f"proxies.engine.{next(iter(asked))}"
    assert "proxies.engine.wait_for_nodes" in caught.value.remedy


def test_who_waits_for_room_says_so(cluster, spec_of):
    from ray.util.placement_group import placement_group, remove_placement_group

    others = placement_group([{"CPU": 1}, {"CPU": 1}])
    assert others.wait(60)

    class Said(list):
        def append(self, line):
            super().append(line)
            remove_placement_group(others)

    said = Said()
    (result,) = trainer(cluster, said).run([spec_of(seed=30)])
    assert result.error is None
    assert said == ["  Ray: waiting for room: 0 of 2 CPUs free; a task takes 1 CPU of one node"]


def test_a_cluster_that_adds_nodes_is_waited_for(cluster, spec_of, monkeypatch, tmp_path):
    """A node that is large enough comes, and is lost while the proxy trains on it."""
    nodes = []

    class Said(list):
        def append(self, line):
            super().append(line)
            nodes.append(cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20))

    said = Said()
    engine = trainer(cluster, said, cpus_per_proxy=2, wait_for_nodes=60)
    (result,) = engine.run([spec_of(seed=31)])
    assert result.error is None
    (line,) = said
    assert re.fullmatch(
        r".*2 of 2 CPUs free; a task takes 2 CPUs of one node; no node is .* wait for one ends in \d+[ms]\d*s?", line
    )
    (tmp_path / "sitecustomize.py").write_text(
        "from regmix_pipeline import ray_cluster\nray_cluster.NODES_MAY_BE_GONE = 0.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    engine = trainer(cluster, cpus_per_proxy=2)
    lost = threading.Thread(target=lambda: (kill_one_at_work(), cluster.remove_node(nodes[0], allow_graceful=False)))
    lost.start()
    with pytest.raises(ProxyError, match="it takes 2 CPUs of one node, and the most that any has is 1 CPU"):
        list(engine.run([spec_of(seed=32, training=LONGER)]))
    lost.join()


@pytest.mark.kills
def test_a_lost_node_s_proxies_end_on_the_other(cluster, spec_of, at_home, bits):
    specs = [spec_of(seed=seed, training=LONGER, snapshot_seconds=0.0) for seed in range(20, 25)]
    results = []
    for result in trainer(cluster).run(specs):
        if not results:
            cluster.remove_node(cluster.second, allow_graceful=False)
        results.append(result)
    assert sorted(result.task.id for result in results) == sorted(spec.id for spec in specs)
    assert [result.error for result in results] == [None] * 5
    assert {spec.id: bits(spec.output) for spec in specs} == at_home(specs)


def test_a_cluster_that_is_not_there_is_named(spec_of):
    from regmix_pipeline.proxies.workers.ray import RayExecutor

    with pytest.raises(ProxyError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        list(RayExecutor(EngineSettings(kind="ray", address="127.0.0.1:1")).run([spec_of()]))
