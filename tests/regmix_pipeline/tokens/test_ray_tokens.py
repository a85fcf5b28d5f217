"""Parts as tasks of datatrove's RayPipelineExecutor on a real Ray cluster of two nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.study.settings.documents import Source

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(s3):
    """A head that runs no task, and two nodes of one core each, all of which reach S3."""
    from ray.cluster_utils import Cluster

    room = {"object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        # Workers import this package, wherever it is.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "memory": 2**30, "include_dashboard": False, **room}
        )
        made.first, made.second = (made.add_node(num_cpus=1, memory=2 * 2**30, **room) for _ in range(2))
        made.wait_for_nodes()
        yield made
        made.shutdown()


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spread(place, name, texts, files=4):
    (place.base / name).mkdir()
    for number in range(files):
        lines = [json.dumps({"text": text}) + "\n" for text in texts[number::files]]
        (place.base / name / f"{number}.jsonl").write_text("".join(lines))
    return Source(jsonl=f"{name}/*.jsonl")


def test_a_cluster_gives_the_bytes_of_one_process(place, cluster, many, alone, s3):
    from fsspec.core import url_to_fs

    texts = place.sentences(300)
    sources = {"books": spread(place, "books", texts + texts[:50])}
    address = f"{s3}/{place.base.name}/web"
    spread(place, "web", texts)
    url_to_fs(address)[0].put(f"{place.base}/web/", f"{address}/", recursive=True)
    sources["web"] = Source(jsonl=f"{address}/*.jsonl")
    said = []
    ray = {"kind": "ray", "address": cluster.address, "tasks": 3, "mem_per_cpu_gb": 1}
    assert many(sources, said=said, **ray) == alone(sources)
    assert "executor ray" in said[0]
    assert content(place.base / "many") == content(place.base / "alone")


def test_a_bad_line_comes_through(place, cluster, many):
    source = spread(place, "books", place.sentences(90), files=3)
    with open(place.base / "books" / "1.jsonl", "a") as file:
        file.write("no JSON\n")
    with pytest.raises(DocumentError, match="malformed JSON") as caught:
        many({"books": source}, kind="ray", address=cluster.address, tasks=3, mem_per_cpu_gb=1)
    assert caught.value.where == f"{place.base}/books/1.jsonl:31"
    assert not [*(place.base / "many").rglob("*")]


def actors():
    """Processes of Ray that make a part at this moment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes().startswith(b"ray::RankWorker.run_for_rank"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def when_at_work(act):
    """Call ``act`` once a part is being made."""
    done = []

    def look():
        until = time.monotonic() + 300
        while time.monotonic() < until and not actors():
            time.sleep(0.02)
        act()
        done.append(True)

    thread = threading.Thread(target=look)
    thread.start()
    yield
    thread.join()
    assert done


@pytest.mark.kills
def test_a_killed_worker_is_replaced(place, cluster, many, alone):
    texts = [" ".join(place.sentences(60)) + f" {n}" for n in range(3000)]
    source = spread(place, "books", texts)
    with when_at_work(lambda: os.kill(actors()[0], signal.SIGKILL)):
        made = many({"books": source}, kind="ray", address=cluster.address, tasks=4, mem_per_cpu_gb=1)
    assert made == alone({"books": source})
    assert content(place.base / "many") == content(place.base / "alone")


@pytest.mark.kills
def test_a_lost_node_s_parts_are_made_on_the_other(place, cluster, many, alone):
    texts = [" ".join(place.sentences(60)) + f" {n}" for n in range(3000)]
    source = spread(place, "books", texts)
    with when_at_work(lambda: cluster.remove_node(cluster.second, allow_graceful=False)):
        made = many({"books": source}, kind="ray", address=cluster.address, tasks=4, mem_per_cpu_gb=1)
    assert made == alone({"books": source})
    assert content(place.base / "many") == content(place.base / "alone")


def test_a_task_that_is_lost_as_it_is_placed_is_placed_again(place, cluster, monkeypatch):
    import ray
    from datatrove.executor.ray import TimeoutManager

    from regmix_pipeline.tokens import ray_placement

    died = place.base / "died"

    class DiesAtFirst:
        def get_node_ip(self):
            if not died.exists():
                died.touch()
                os._exit(1)
            return "127.0.0.1"

        def run_for_rank(self, executor, ranks, addresses, node):
            return ranks

    monkeypatch.setattr(ray_placement, "RankWorker", DiesAtFirst)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        manager = ray_placement.PlacedAgain(1, TimeoutManager())
        (task,) = manager.submit_task(None, [3], {"num_cpus": 1, "memory": 2**30}).result(300)
        assert died.exists()
        assert ray.get(task) == [3]
        assert manager.task_done(task) == (True, None)
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("asked", "setting", "told"),
    [
        ({"cpus_per_task": 2}, "cpus_per_task", "it takes 2 CPUs of one node, and the most that any has is 1 CPU"),
        ({"mem_per_cpu_gb": 64}, "mem_per_cpu_gb", "it takes 64 GB of memory of one node, and .* is 2 GB of memory"),
    ],
)
def test_a_task_that_no_node_can_hold_is_refused_at_once(place, cluster, many, asked, setting, told):
    source = spread(place, "books", place.sentences(90))
    ray = {"kind": "ray", "address": cluster.address, "tasks": 2, "mem_per_cpu_gb": 1} | asked
    with pytest.raises(TokenError, match=told) as caught:
        many({"books": source}, **ray)
    assert caught.value.where == f"shards.executor.{setting}"
    assert "shards.executor.wait_for_nodes" in caught.value.remedy


class Others:
    """A listener that gives back what others hold of a cluster once it hears that there is no room."""

    def __init__(self, cluster):
        self.cluster, self.held, self.lines = cluster, None, []

    def __enter__(self):
        import ray
        from ray.util.placement_group import placement_group

        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="error")
        # A node that was lost counts until Ray misses it, and nothing can be held there.
        nodes, until = len(self.cluster.worker_nodes), time.monotonic() + 300
        while ray.cluster_resources().get("CPU", 0) != nodes and time.monotonic() < until:
            time.sleep(0.2)
        self.held = placement_group([{"CPU": 1}] * nodes)
        assert self.held.wait(300)
        return self

    def __exit__(self, *_):
        import ray

        ray.shutdown()

    def append(self, line):
        import ray
        from ray.util.placement_group import remove_placement_group

        self.lines.append(line)
        if "waiting for room" in line and self.held:
            remove_placement_group(self.held)
            self.held = None
            ray.shutdown()


def test_who_waits_for_room_says_so(place, cluster, many, alone):
    source = spread(place, "books", place.sentences(90))
    with Others(cluster) as said:
        made = many({"books": source}, said=said, kind="ray", address=cluster.address, tasks=2, mem_per_cpu_gb=1)
    assert said.held is None
    assert any(
        re.search(r"waiting for room: 0 of \d CPUs? free, .*; a task takes 1 CPU and 1 GB", each) for each in said.lines
    )
    assert made == alone({"books": source})


@pytest.mark.kills
def test_a_cluster_that_shrinks_below_a_task_is_given_up(place, cluster, many, monkeypatch):
    """Its only node that is large enough is lost while the part is made, and stays away."""
    (place.base / "sitecustomize.py").write_text(
        "from regmix_pipeline import ray_cluster\nray_cluster.NODES_MAY_BE_GONE = 1\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(place.base), prepend=os.pathsep)
    large = cluster.add_node(num_cpus=2, memory=2 * 2**30, object_store_memory=80 * 2**20)
    source = spread(place, "books", [" ".join(place.sentences(60)) + f" {n}" for n in range(3000)], files=2)
    with (
        when_at_work(lambda: cluster.remove_node(large, allow_graceful=False)),
        pytest.raises(TokenError, match="it takes 2 CPUs of one node, and the most that any has is 1 CPU"),
    ):
        many({"books": source}, kind="ray", address=cluster.address, tasks=2, cpus_per_task=2, mem_per_cpu_gb=1)


def test_a_cluster_that_is_not_there_is_named(place, many):
    source = spread(place, "books", place.sentences(90))
    with pytest.raises(TokenError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        many({"books": source}, kind="ray", address="127.0.0.1:1", tasks=2)
