"""A training that is killed at any moment continues to the same bits; what is damaged is named and made again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, TargetFile, TokenFile
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import TrainingSettings

SpecOf = Callable[..., ProxySpec]
LONGER = TrainingSettings(tokens=16 * 8 * 150, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)
FILES = ("model.safetensors", "trajectory.parquet")
ROOT = str(Path(__file__).parents[3])

KILLER = '''
import os, pathlib, random, shutil, signal, sys, time
import torch
from regmix_pipeline.proxies.evaluate import evaluate_proxy
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.train import train_proxy

torch.set_num_threads(1)
spec = ProxySpec.model_validate_json(pathlib.Path(sys.argv[1]).read_text())
evaluation = EvaluationSpec.model_validate_json(pathlib.Path(sys.argv[2]).read_text())
chance = random.Random(int(sys.argv[3]))

def work():
    train_proxy(spec)
    evaluate_proxy(evaluation)

def until(pattern, folder):
    """Wait for a file that was not there before; busy on purpose, as it lasts a millisecond."""
    before = set(folder.glob(pattern))
    def wait(child):
        while not set(folder.glob(pattern)) - before:
            if os.waitpid(child, os.WNOHANG)[0]:
                return "missed"
        return "met"
    return wait

def asleep(child):
    time.sleep(chance.uniform(0.0, 0.5))
    return "slept"

def killed(wait):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    how = wait(child)
    if how != "missed":
        time.sleep(chance.uniform(0, 0.003))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return how

training = ["time"] * 6 + ["snapshot"] * 6
chance.shuffle(training)
for moment in training + ["result"] * 4 + ["loss"] * 4:
    waits = {
        "time": lambda: asleep,
        "snapshot": lambda: until(f".{spec.snapshot.stem}.*.tmp*", spec.folder),
        "result": lambda: until(f".{spec.id}.*.tmp", spec.folder),
        "loss": lambda: until(".*.tmp*", evaluation.folder),
    }
    # On a busy machine this process may sleep while the file is there: then the child begins again.
    for _ in range(50):
        evaluation.output.unlink(missing_ok=True)
        if moment == "result":
            shutil.rmtree(spec.output, ignore_errors=True)
        how = killed(waits[moment]())
        if how != "missed" or moment == "snapshot":
            break
    print(moment, how, spec.snapshot.exists(), spec.output.exists(), flush=True)
work()
'''


@pytest.mark.timeout(600)
def test_twenty_kills_change_no_bit(spec_of: SpecOf, targets: dict[str, TargetFile], tmp_path: Path) -> None:
    whole = spec_of(training=LONGER, folder=tmp_path / "whole")
    cut = whole.model_copy(update={"folder": tmp_path / "cut", "snapshot_seconds": 0.0})
    assert cut.id == whole.id
    train_proxy(whole)
    evaluation = EvaluationSpec(
        proxy=cut.output, target="books", tokens=targets["books"], folder=tmp_path / "losses", device="cpu"
    )
    (tmp_path / "spec.json").write_text(cut.model_dump_json())
    (tmp_path / "evaluation.json").write_text(evaluation.model_dump_json())
    script = [sys.executable, "-c", KILLER, str(tmp_path / "spec.json"), str(tmp_path / "evaluation.json"), "5"]
    done = subprocess.run(script, env=os.environ | {"PYTHONPATH": ROOT}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = [line.split() for line in done.stdout.splitlines()]
    assert len(seen) == 20
    assert any(snapshot == "True" for _, _, snapshot, _ in seen), "no kill fell into the training"
    for moment in ("snapshot", "result", "loss"):
        assert any(line[:2] == [moment, "met"] for line in seen), f"no kill fell into the writing of a {moment}"
    for name in FILES:
        assert (cut.output / name).read_bytes() == (whole.output / name).read_bytes()
    ours, theirs = (json.loads((spec.output / "proxy.json").read_text()) for spec in (cut, whole))
    assert theirs["continued_from_step"] == 0
    for field in ("domains", "training_loss", "tokens", "steps", "sha256"):
        assert ours[field] == theirs[field]
    assert not cut.snapshot.exists()
    reference = evaluation.model_copy(update={"proxy": whole.output, "folder": tmp_path / "reference"})
    from regmix_pipeline.proxies.evaluate import evaluate_proxy

    assert evaluate_proxy(reference)["loss"] == json.loads(evaluation.output.read_text())["loss"]


def test_a_training_continues_from_its_snapshot(spec_of: SpecOf, tmp_path: Path) -> None:
    import torch

    from regmix_pipeline.proxies.snapshot import Snapshot, save_snapshot
    from regmix_pipeline.proxies.training_loop import TrainingLoop

    whole = spec_of(folder=tmp_path / "whole", targets={})
    cut = whole.model_copy(update={"folder": tmp_path / "cut"})
    cpu = torch.device("cpu")
    trainer = TrainingLoop(cut, cpu)
    for _ in range(7):
        trainer.step()
    cut.folder.mkdir()
    save_snapshot(cut, cpu, Snapshot(trainer.taken, trainer.tensors))
    assert train_proxy(cut)["continued_from_step"] == 7
    train_proxy(whole)
    assert (cut.output / FILES[0]).read_bytes() == (whole.output / FILES[0]).read_bytes()


DRIVER = """
import pathlib, sys
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.local import LocalExecutor
specs = [ProxySpec.model_validate_json(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
for result in LocalExecutor(int(sys.argv[2])).run(specs):
    assert result.error is None, result.error
    print(result.task.id, result.reused, flush=True)
"""


def _driver(specs: list[ProxySpec], folder: Path, workers: int = 2) -> subprocess.Popen[str]:
    (folder / "specs.jsonl").write_text("\n".join(spec.model_dump_json() for spec in specs))
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder / "specs.jsonl"), str(workers)],
        env=os.environ | {"PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_driver_killed_with_all_its_workers_loses_no_finished_proxy(spec_of: SpecOf, tmp_path: Path) -> None:
    chance = random.Random(3)
    specs = [spec_of(training=LONGER, seed=seed, folder=tmp_path / "cut", snapshot_seconds=0.05) for seed in range(4)]
    for _ in range(2):
        driver = _driver(specs, tmp_path)
        assert driver.stdout is not None
        driver.stdout.readline()  # a first result, old or new
        time.sleep(chance.uniform(0, 0.5))
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
        written = {spec.id: (spec.output / "proxy.json").stat().st_mtime_ns for spec in specs if spec.output.exists()}
    driver = _driver(specs, tmp_path)
    out, _ = driver.communicate()
    assert driver.returncode == 0
    reused = dict(line.split() for line in out.splitlines())
    assert {name for name, old in reused.items() if old == "True"} == set(written)
    for spec in specs:
        reference = spec.model_copy(update={"folder": tmp_path / "whole"})
        train_proxy(reference)
        for name in FILES:
            assert (spec.output / name).read_bytes() == (reference.output / name).read_bytes()
        if spec.id in written:
            assert (spec.output / "proxy.json").stat().st_mtime_ns == written[spec.id]


def test_two_runs_at_once_train_each_proxy_once(spec_of: SpecOf, tmp_path: Path) -> None:
    specs = [spec_of(training=LONGER, seed=seed, folder=tmp_path / "proxies") for seed in range(4)]
    drivers = [_driver(specs, tmp_path, workers=1) for _ in range(2)]
    outputs = [driver.communicate()[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert all(len(output.splitlines()) == 4 for output in outputs)
    # Each folder was renamed into place once: a second training would have left another modification time inside.
    for spec in specs:
        value = json.loads((spec.output / "proxy.json").read_text())
        folder = spec.output.stat()
        assert abs(folder.st_mtime - (spec.output / "proxy.json").stat().st_mtime) < 1
        assert value["continued_from_step"] == 0
    assert sorted(path.name for path in (tmp_path / "proxies").iterdir()) == sorted(spec.id for spec in specs)


@pytest.mark.parametrize("harm", ["cut", "altered", "foreign"])
def test_a_damaged_snapshot_is_not_trusted(spec_of: SpecOf, harm: str, tmp_path: Path, capfd) -> None:
    import torch

    from regmix_pipeline.proxies.snapshot import Snapshot, load_snapshot, save_snapshot
    from regmix_pipeline.proxies.training_loop import TrainingLoop

    spec, cpu = spec_of(), torch.device("cpu")
    trainer = TrainingLoop(spec, cpu)
    for _ in range(5):
        trainer.step()
    kept = Snapshot(trainer.taken, trainer.tensors)
    save_snapshot(spec, cpu, kept)
    assert load_snapshot(spec, cpu) is not None
    content = bytearray(spec.snapshot.read_bytes())
    if harm == "cut":
        spec.snapshot.write_bytes(content[: len(content) // 2])
    elif harm == "altered":
        content[-5] ^= 1
        spec.snapshot.write_bytes(content)
    else:
        other = spec.model_copy(update={"seed": spec.seed + 1})
        other.folder.mkdir(exist_ok=True)
        spec.snapshot.rename(other.snapshot)
        spec = other
    value = train_proxy(spec)
    assert value["continued_from_step"] == 0
    assert "the proxy is trained from the start" in capfd.readouterr().err
    reference = spec.model_copy(update={"folder": tmp_path / "reference"})
    train_proxy(reference)
    assert (spec.output / FILES[0]).read_bytes() == (reference.output / FILES[0]).read_bytes()


def test_a_damaged_checkpoint_is_named_and_made_again_alone(
    spec_of: SpecOf, targets: dict[str, TargetFile], tmp_path: Path
) -> None:
    specs = cut, altered, without_record, whole = [spec_of(seed=seed) for seed in range(4)]
    for spec in specs:
        train_proxy(spec)
    good = [(spec.output / FILES[0]).read_bytes() for spec in specs]
    (cut.output / FILES[0]).write_bytes(good[0][: len(good[0]) // 2])
    (altered.output / FILES[0]).write_bytes(good[1][:-3] + bytes([good[1][-3] ^ 1]) + good[1][-2:])
    (without_record.output / "proxy.json").unlink()
    tasks = [
        EvaluationSpec(
            proxy=spec.output, target="code", tokens=targets["code"], folder=tmp_path / "losses", device="cpu"
        )
        for spec in specs
    ]
    results = {result.task.id: result for result in LocalExecutor(1).run(tasks)}
    for spec, task in zip(specs, tasks, strict=True):
        error = results[task.id].error
        if spec is whole:
            assert error is None
        else:
            assert isinstance(error, ProxyError)
            assert spec.id in str(error)
            assert "not a complete proxy" in str(error)
    again = {result.task.id: result for result in LocalExecutor(1).run(specs)}
    assert [again[spec.id].reused for spec in specs] == [False, False, False, True]
    assert [(spec.output / FILES[0]).read_bytes() for spec in specs] == good


def test_a_shard_altered_in_place_is_named_before_it_is_used(
    spec_of: SpecOf, shards: dict[str, TokenFile], tmp_path: Path
) -> None:
    from regmix_pipeline.files import sha256_of

    path = tmp_path / "web.train.ds"
    path.write_bytes(shards["web"].path.read_bytes())
    web = shards["web"].model_copy(update={"path": path, "sha256": sha256_of(path)})
    checked = shards | {"web": web}
    train_proxy(spec_of(shards=checked))
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    bad, other = spec_of(shards=checked, seed=9), spec_of(shards=checked, seed=9, mixture={"code": 1_000_000})
    results = {result.task.id: result for result in LocalExecutor(1).run([bad, other])}
    assert "web.train.ds: the token file was altered" in str(results[bad.id].error)
    assert results[other.id].error is None
    path.unlink()
    with pytest.raises(TokenError, match=r"web\.train\.ds: the token file is missing"):
        train_proxy(bad)


def test_a_full_disk_fails_what_does_not_fit(spec_of: SpecOf, small_disk: Path, tmp_path: Path) -> None:
    specs = [
        spec_of(seed=1, folder=small_disk / "proxies", vocabulary=4000),
        spec_of(seed=2, folder=tmp_path / "proxies"),
    ]
    results = {result.task.id: result for result in LocalExecutor(1).run(specs)}
    error = results[specs[0].id].error
    assert isinstance(error, ProxyError)
    assert "No space left" in str(error)
    assert "free disk space and run again" in str(error)
    assert specs[0].id in str(error)
    assert not list((small_disk / "proxies").iterdir())
    assert results[specs[1].id].error is None
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    again = {result.task.id: result for result in LocalExecutor(1).run(specs)}
    assert [again[spec.id].reused for spec in specs] == [False, True]


OUT_OF_MEMORY = """
import pathlib, resource, sys
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.local import LocalExecutor
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
specs = [ProxySpec.model_validate_json(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
for result in LocalExecutor(1).run(specs):
    print(result.task.id, "|", result.error and str(result.error).replace(chr(10), " "), flush=True)
"""


def test_a_worker_out_of_memory_fails_its_task_alone(spec_of: SpecOf, tmp_path: Path) -> None:
    specs = [spec_of(vocabulary=60_000_000), spec_of()]
    (tmp_path / "specs.jsonl").write_text("\n".join(spec.model_dump_json() for spec in specs))
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "specs.jsonl")],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert "use fewer workers or a smaller model" in found[specs[0].id]
    assert found[specs[1].id] == "None"
