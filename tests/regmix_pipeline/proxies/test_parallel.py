"""A proxy over two processes of a CPU, by torchrun and gloo: the losses are those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.workers.parallel import train_in_parallel
from regmix_pipeline.study.settings.proxies import TrainingSettings

SpecOf = Callable[..., ProxySpec]
LONGER = TrainingSettings(tokens=16 * 8 * 300, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)
BEGUN = """
import sys
from regmix_pipeline.proxies.workers.parallel import train_in_parallel
from regmix_pipeline.proxies.spec import ProxySpec
train_in_parallel(ProxySpec.model_validate_json(open(sys.argv[1]).read()), 2)
"""


def losses(spec: ProxySpec) -> list[float]:
    return [row["loss"] for row in pq.read_table(spec.output / "trajectory.parquet").to_pylist()]


def test_two_processes_give_the_losses_of_one(spec_of: SpecOf, tmp_path: Path) -> None:
    spec, alone = spec_of(), spec_of(folder=tmp_path / "alone")
    value, expected = train_in_parallel(spec, 2), train_proxy(alone)
    assert value["id"] == expected["id"]
    assert value["domains"] == expected["domains"]
    assert value["training_loss"] == pytest.approx(expected["training_loss"], abs=1e-5)
    assert losses(spec) == pytest.approx(losses(alone), abs=1e-5)
    assert train_in_parallel(spec, 2) == value


def test_an_error_of_one_step_is_the_proxys_own(spec_of: SpecOf) -> None:
    spec = spec_of(vocabulary=20)
    with pytest.raises(ProxyError, match="outside the vocabulary of 20"):
        train_in_parallel(spec, 2)
    assert not spec.output.exists()
    with pytest.raises(ProxyError, match="a step of 8 windows is not enough for 9 devices"):
        train_in_parallel(spec, 9)


@pytest.mark.kills
def test_a_killed_training_takes_its_processes_along_and_is_continued(spec_of: SpecOf, tmp_path: Path) -> None:
    spec = spec_of(training=LONGER, snapshot_seconds=0.0)
    file = tmp_path / "spec.json"
    file.write_text(spec.model_dump_json())
    job_here = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", BEGUN, str(file)], env=job_here)
    while not spec.snapshot.is_file() and process.poll() is None:
        time.sleep(0.01)
    assert len(_of_job(tmp_path)) == 3  # torchrun, and the two that train
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 60
    while _of_job(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _of_job(tmp_path)
    assert not spec.is_finished
    value = train_in_parallel(spec.model_copy(update={"snapshot_seconds": 60.0}), 2)
    assert value["continued_from_step"] > 0
    alone = spec.model_copy(update={"folder": tmp_path / "alone", "snapshot_seconds": 60.0})
    train_proxy(alone)
    # Two processes add in another order; over 300 steps that grows.
    assert losses(spec) == pytest.approx(losses(alone), abs=1e-2)


def _of_job(folder: Path) -> list[str]:
    """Commands that train in parallel, by a job in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_text()
        except OSError:
            continue
        if "job.json" in words and str(folder) in words:
            found.append(words)
    return found
