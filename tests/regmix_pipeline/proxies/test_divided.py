# ruff: noqa: TID253  (tests of training)
"""A model divided among processes of a CPU: the losses, files and snapshots of one that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.memory import shares, whole_fits, worker_memory
from regmix_pipeline.proxies.snapshot import Snapshot, load_snapshot
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.train import TrainingRun, train_proxy
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.parallel import train_in_parallel
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

SpecOf = Callable[..., ProxySpec]
CPU = torch.device("cpu")
LONGER = TrainingSettings(tokens=16 * 8 * 200, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)
BEGUN = """
import sys
from regmix_pipeline.proxies.workers.parallel import train_in_parallel
from regmix_pipeline.proxies.spec import ProxySpec
train_in_parallel(ProxySpec.model_validate_json(open(sys.argv[1]).read()), 2, divide=True)
"""


def losses(spec: ProxySpec) -> list[float]:
    return [
        row["loss"] or row["training_loss"] for row in pq.read_table(spec.output / "trajectory.parquet").to_pylist()
    ]


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=atol, equal_nan=True)


def test_two_processes_that_share_a_model_give_the_losses_and_files_of_one(spec_of: SpecOf, tmp_path: Path) -> None:
    # 61 tokens of a vocabulary and windows of two passes cannot be halved by chance.
    spec, alone = spec_of(steps_after=3), spec_of(steps_after=3, folder=tmp_path / "alone")
    value, expected = train_in_parallel(spec, 2, divide=True), train_proxy(alone)
    for field in ("id", "domains", "steps", "tokens", "parameters"):
        assert value[field] == expected[field]
    assert losses(spec) == pytest.approx(losses(alone), abs=1e-5)
    for file in spec.files:
        if file.endswith(".safetensors"):
            close(load_file(spec.output / file), load_file(alone.output / file), 1e-4)
    assert train_proxy(spec) == value


def test_windows_that_cannot_be_shared_are_refused(spec_of: SpecOf) -> None:
    with pytest.raises(ProxyError, match=r"(?s)8 windows cannot be shared by the 3 devices .*gpus_per_model to 2"):
        train_in_parallel(spec_of(), 3, divide=True)
    assert [shares(8, devices) for devices in (8, 7, 3, 100)] == [8, 4, 2, 8]


@pytest.mark.kills
def test_a_snapshot_by_two_processes_is_continued_by_two_and_by_one(spec_of: SpecOf, tmp_path: Path) -> None:
    spec = spec_of(training=LONGER, snapshot_seconds=0.0)
    file = tmp_path / "spec.json"
    file.write_text(spec.model_dump_json())
    process = subprocess.Popen([sys.executable, "-c", BEGUN, str(file)], env=os.environ | {"TMPDIR": str(tmp_path)})
    while not spec.snapshot.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while _of_job(tmp_path):
        time.sleep(0.05)
    assert not spec.is_finished
    kept = load_snapshot(spec, CPU)
    assert kept is not None
    calm = spec.model_copy(update={"snapshot_seconds": 60.0})
    one = calm.model_copy(update={"folder": tmp_path / "one"})
    one.folder.mkdir()
    one.snapshot.write_bytes(spec.snapshot.read_bytes())
    found = [train_in_parallel(calm, 2, divide=True), train_proxy(one)]
    assert [value["continued_from_step"] for value in found] == [kept.taken] * 2
    assert losses(calm) == pytest.approx(losses(one), abs=1e-2)


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


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[Any]:
    """The module that divides; this process is all there are.

    Imported here: every worker imports this file, one runs it, and PyTorch's FSDP takes more than a second.
    """
    from torch import distributed

    from regmix_pipeline.proxies import divided

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield divided
    distributed.destroy_process_group()


def test_it_goes_on_from_an_earlier_phase_and_from_any_step(spec_of: SpecOf, divided: Any) -> None:
    start = spec_of(steps_after=12, training=spec_of().training.model_copy(update={"tokens": 16 * 8 * 5}))
    train_proxy(start)
    spec = spec_of(start=start)
    loops = [TrainingLoop(spec, CPU), divided.DividedLoop(spec, CPU)]
    for loop in loops:
        for _ in range(4):
            loop.step()
    close(loops[1].tensors, loops[0].tensors, 1e-5)
    later = divided.DividedLoop(spec, CPU)
    later.restore(Snapshot(4, loops[0].tensors))
    close(later.tensors, loops[0].tensors, 0)
    for loop in (later, loops[0]):
        loop.step()
    close(later.tensors, loops[0].tensors, 1e-6)


def test_bfloat16_parameters_leave_float32_ones_and_their_losses(
    spec_of: SpecOf, divided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    monkeypatch.setattr(divided, "policy_on", lambda device: MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    loops = [TrainingLoop(spec_of(), CPU), divided.DividedLoop(spec_of(), CPU)]
    for loop in loops:
        for _ in range(10):
            loop.step()
    assert {tensor.dtype for tensor in loops[1].tensors.values()} == {torch.float32}
    difference = (loops[1].losses[:10] - loops[0].losses[:10]).abs().max()
    assert 0 < float(difference) < 0.03
    assert loops[0].losses[9] < loops[0].losses[0]


def test_a_run_of_it_samples_and_is_written(spec_of: SpecOf, divided: Any, tmp_path: Path) -> None:
    spec, alone = spec_of(landmark=6), spec_of(landmark=6, folder=tmp_path / "alone")
    run = TrainingRun(spec, CPU, loop=divided.DividedLoop)
    while run.goes_on:
        run.trainer.step()
        run.after_step()
    run.finished()
    train_proxy(alone)
    for one, other in ((spec, alone), (spec.at_landmark, alone.at_landmark)):
        assert losses(one) == pytest.approx(losses(other), abs=1e-5)


def test_a_part_takes_a_share_of_the_memory() -> None:
    model = ModelSettings(context=2048, layers=32, width=4096, heads=32, ffn_width=11008)
    large = ModelSettings(context=2048, layers=22, width=2048, heads=32, ffn_width=5632)
    whole, part = (worker_memory(model, 50_432, 512, "cuda", parts=parts) for parts in (1, 8))
    assert whole.fixed > 100e9
    assert part.optimiser == whole.optimiser / 8
    assert part.total < 40e9
    assert not whole_fits(model, 50_432, 512, 8, 80e9)
    assert whole_fits(large, 50_432, 512, 8, 80e9)
