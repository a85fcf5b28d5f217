"""Worker processes: results as they end, and failures that stay with the task that failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, TargetFile, TokenFile
from regmix_pipeline.proxies.workers.local import LocalExecutor, default_workers

SpecOf = Callable[..., ProxySpec]


def children() -> list[int]:
    """Worker processes started by this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_text()
        except (OSError, ValueError, IndexError):
            continue
        if parent == os.getpid() and "regmix_pipeline.proxies.workers.worker" in command:
            found.append(int(stat.parent.name))
    return found


def test_good_and_bad_tasks_side_by_side(
    spec_of: SpecOf, shards: dict[str, TokenFile], targets: dict[str, TargetFile], tmp_path: Path
) -> None:
    good = [spec_of(seed=seed) for seed in range(3)]
    gone = shards | {"web": shards["web"].model_copy(update={"path": tmp_path / "gone.ds"})}
    missing = spec_of(seed=7, shards=gone)
    diverging = spec_of(training=good[0].training.model_copy(update={"learning_rate": 1e30}))
    results = {result.task.id: result for result in LocalExecutor(2).run([*good, missing, diverging, good[0]])}
    assert len(results) == 5
    for spec in good:
        assert results[spec.id].error is None
        assert results[spec.id].value["id"] == spec.id
        assert results[spec.id].seconds > 0
    assert isinstance(results[missing.id].error, TokenError)
    assert "gone.ds" in str(results[missing.id].error)
    assert isinstance(results[diverging.id].error, ProxyError)
    assert diverging.id in str(results[diverging.id].error)
    assert not children()

    evaluations = [
        EvaluationSpec(proxy=good[0].output, target=name, tokens=file, folder=tmp_path / "losses", device="cpu")
        for name, file in targets.items()
    ]
    again = list(LocalExecutor(1).run([*evaluations, *good]))
    assert [result.reused for result in again] == [True] * 3 + [False] * 2
    assert {result.value["target"] for result in again[3:]} == {"books", "code"}


def test_finished_results_start_no_process(spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    assert [result.error for result in LocalExecutor(1).run([spec])] == [None]
    monkeypatch.setattr(subprocess, "Popen", None)
    (result,) = LocalExecutor(1).run([spec])
    assert result.reused
    assert result.value["id"] == spec.id


def test_a_killed_worker_costs_its_task_alone(spec_of: SpecOf) -> None:
    endless = spec_of(training=spec_of().training.model_copy(update={"tokens": 10**8}))
    good = [spec_of(seed=seed) for seed in range(2)]

    def kill() -> None:
        while not children():
            time.sleep(0.02)
        (victim,) = children()
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    results = {result.task.id: result for result in LocalExecutor(1).run([endless, *good])}
    killer.join()
    error = results[endless.id].error
    assert isinstance(error, ProxyError)
    assert "killed by SIGKILL" in str(error)
    assert endless.id in str(error)
    assert [results[spec.id].error for spec in good] == [None, None]
    assert not endless.output.exists()


def test_closing_the_iterator_stops_the_workers(spec_of: SpecOf) -> None:
    endless = spec_of(training=spec_of().training.model_copy(update={"tokens": 10**8}))
    results = LocalExecutor(2).run([spec_of(), endless])
    assert next(results).error is None
    assert children()
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not children()


def test_workers_end_with_their_parent(spec_of: SpecOf, tmp_path: Path) -> None:
    endless = spec_of(training=spec_of().training.model_copy(update={"tokens": 10**8}))
    (tmp_path / "spec.json").write_text(endless.model_dump_json())
    # No `if __name__ == "__main__"`: the caller's main module is never imported by a worker.
    script = tmp_path / "caller.py"
    script.write_text(
        "import pathlib, sys\n"
        "from regmix_pipeline.proxies.spec import ProxySpec\n"
        "from regmix_pipeline.proxies.workers.local import LocalExecutor\n"
        "spec = ProxySpec.model_validate_json(pathlib.Path(sys.argv[1]).read_text())\n"
        "print('started', flush=True)\n"
        "list(LocalExecutor(1).run([spec]))\n"
    )
    root = str(Path(__file__).parents[4])
    caller = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "spec.json")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert caller.stdout is not None
    caller.stdout.readline()
    workers: list[int] = []
    deadline = time.monotonic() + 20
    while not workers and time.monotonic() < deadline:
        workers = [int(pid) for pid in Path(f"/proc/{caller.pid}/task/{caller.pid}/children").read_text().split()]
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert len(workers) == 1
    while _alive(workers[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(workers[0])


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_workers_are_refused() -> None:
    assert default_workers() >= 1
    with pytest.raises(ProxyError, match="0 workers"):
        LocalExecutor(0)
