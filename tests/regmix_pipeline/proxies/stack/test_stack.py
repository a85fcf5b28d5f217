# ruff: noqa: TID253
"""Proxies that train as one program: the results are those of each alone, whatever becomes of the others."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from regmix_pipeline.errors import ProxyError, TokenError
from regmix_pipeline.proxies.spec import ProxySpec, TokenFile
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.stack.train import train_stack
from regmix_pipeline.proxies.stack.units import in_stacks, shape_of
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

SpecOf = Callable[..., ProxySpec]
FILES = ("model.safetensors", "trajectory.parquet")
CPU = torch.device("cpu")
LONG_WINDOWS = ModelSettings(context=160, layers=1, width=16, heads=2, ffn_width=24)
"""Beyond the length from which a CPU has an attention of its own."""


def bits(spec: ProxySpec) -> list[bytes]:
    return [(spec.output / name).read_bytes() for name in FILES]


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[ProxySpec], list[bytes]]:
    """The bits of a proxy that trains by itself, in another folder."""

    def trained(spec: ProxySpec) -> list[bytes]:
        reference = spec.model_copy(update={"folder": tmp_path / "alone"})
        train_proxy(reference)
        return bits(reference)

    return trained


def unlike(spec_of: SpecOf, number: int, **changes: object) -> list[ProxySpec]:
    """Proxies of one shape with other mixtures, seeds, learning rates and clipping."""
    specs = []
    for seed in range(number):
        fields = {"learning_rate": 1e-2 / (1 + seed % 3), "clip": 0.3 + seed % 2, "schedule": "cosine"}
        training = spec_of(**changes).training.model_copy(update=fields)
        mixture = {"books": 100_000 + 7_000 * seed, "code": 500_000, "web": 400_000 - 7_000 * seed}
        specs.append(spec_of(**(changes | {"seed": seed, "mixture": mixture, "training": training})))
    return specs


@pytest.mark.parametrize("number", [1, 4, 16])
def test_a_stack_of_any_size_gives_each_proxy_the_bits_that_it_has_alone(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]], number: int
) -> None:
    specs = unlike(spec_of, number)
    found = train_stack(specs)
    for spec in specs[:4]:
        value = found[spec.id]
        assert isinstance(value, dict), value
        assert value["id"] == spec.id
        assert value.get("stacked", 1) == number
        assert bits(spec) == alone(spec)
    assert {path.name for path in specs[0].folder.iterdir()} == {spec.id for spec in specs}


def test_long_windows_and_steps_of_several_passes_too(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]]
) -> None:
    training = TrainingSettings(tokens=160 * 16 * 3, windows_per_step=16, learning_rate=1e-2, warmup_steps=1)
    specs = unlike(spec_of, 3, model=LONG_WINDOWS, training=training)
    train_stack(specs)
    assert [bits(spec) for spec in specs] == [alone(spec) for spec in specs]


@pytest.mark.parametrize("model", ["short", "long"])
def test_batched_products_give_the_same_losses(spec_of: SpecOf, model: str) -> None:
    changes = {"model": LONG_WINDOWS} if model == "long" else {}
    tokens = 8 * (160 if model == "long" else 16) * 12
    changes["training"] = spec_of().training.model_copy(update={"tokens": tokens})
    for number in (1, 4, 16) if model == "short" else (2,):
        specs = unlike(spec_of, number, **changes)
        single = [TrainingLoop(spec, CPU) for spec in specs]
        stack = Stack([TrainingLoop(spec, CPU) for spec in specs], batched=True)
        for _ in range(12):
            stack.step([trainer.next_rows() for trainer in stack.trainers])
            for trainer in single:
                trainer.step()
        for one, other in zip(single, stack.trainers, strict=True):
            torch.testing.assert_close(one.losses, other.losses, rtol=0, atol=1e-5)


def test_what_fails_or_ends_leaves_the_others_alone(
    spec_of: SpecOf, shards: dict[str, TokenFile], alone: Callable[[ProxySpec], list[bytes]], tmp_path: Path
) -> None:
    good = [spec_of(seed=seed) for seed in range(3)]
    diverging = spec_of(training=good[0].training.model_copy(update={"learning_rate": 1e30}))
    gone = shards | {"web": shards["web"].model_copy(update={"path": tmp_path / "gone.ds"})}
    missing = spec_of(seed=7, shards=gone)
    ending = spec_of(seed=8, stop_at=5)
    passing = spec_of(seed=9, landmark=7)
    # A token that is not in the vocabulary, in the last window that it sees.
    path = tmp_path / "odd.ds"
    content = bytearray(shards["code"].path.read_bytes())
    content[-600:] = b"\xff\x00" * 300
    path.write_bytes(content)
    odd = spec_of(
        seed=10, mixture={"code": 1_000_000}, shards={"code": shards["code"].model_copy(update={"path": path})}
    )
    found = train_stack([good[0], diverging, missing, good[1], ending, passing, odd, good[2]])
    assert isinstance(found[missing.id], TokenError)
    for spec, problem in ((diverging, "loss.* is nan"), (odd, "outside the vocabulary")):
        error = found[spec.id]
        assert isinstance(error, ProxyError)
        assert spec.id in str(error)
        assert re.search(problem, str(error))
        assert not spec.output.exists()
    for spec in (*good, ending, passing):
        assert isinstance(found[spec.id], dict)
        assert bits(spec) == alone(spec)
    assert bits(passing.at_landmark) == alone(passing.at_landmark)


def test_a_finished_proxy_is_read_and_one_in_other_hands_is_looked_at_last(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]]
) -> None:
    specs = [spec_of(seed=seed) for seed in range(3)]
    before = train_proxy(specs[0])
    code = (
        "import sys, time; from filelock import FileLock\n"
        f"with FileLock({str(specs[1].lock)!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdin is not None
    assert other.stdout.readline() == "held\n"
    closing = subprocess.Popen(
        [sys.executable, "-c", f"import os, time\nwhile not os.path.isdir({str(specs[2].output)!r}): time.sleep(0.01)"]
    )

    def release() -> None:
        closing.wait()
        other.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]

    threading.Thread(target=release, daemon=True).start()
    found = train_stack(specs)
    other.wait()
    assert found[specs[0].id] == before
    assert bits(specs[1]) == alone(specs[1])
    assert bits(specs[2]) == alone(specs[2])
    with FileLock(specs[1].lock).acquire(timeout=0):
        pass


KILLED = """
import pathlib, sys
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.train import train_stack
import torch
torch.set_num_threads(1)
train_stack([ProxySpec.model_validate_json(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()])
"""


def test_a_killed_stack_is_continued_proxy_by_proxy_to_the_same_bits(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]], tmp_path: Path
) -> None:
    training = TrainingSettings(tokens=16 * 8 * 400, windows_per_step=8, learning_rate=1e-2, warmup_steps=2)
    specs = [spec_of(seed=seed, training=training, snapshot_seconds=0.0) for seed in range(4)]
    listed = tmp_path / "specs"
    listed.write_text("\n".join(spec.model_dump_json() for spec in specs))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(listed)])
    while not all(spec.snapshot.is_file() for spec in specs) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not any(spec.is_finished for spec in specs)
    specs = [spec.model_copy(update={"snapshot_seconds": 60.0}) for spec in specs]
    first = train_proxy(specs[0])
    found = {specs[0].id: first} | train_stack(specs[1:3]) | train_stack(specs[3:])
    for spec in specs:
        value = found[spec.id]
        assert isinstance(value, dict)
        assert value["continued_from_step"] > 0
        assert bits(spec) == alone(spec)
        assert not spec.snapshot.exists()


def test_workers_take_stacks_and_answer_for_each_proxy(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]]
) -> None:
    specs = [spec_of(seed=seed) for seed in range(5)]
    diverging = spec_of(training=specs[0].training.model_copy(update={"learning_rate": 1e30}))
    other = spec_of(model=LONG_WINDOWS, training=specs[0].training.model_copy(update={"tokens": 160 * 8 * 3}))
    results = {result.task.id: result for result in LocalExecutor(1, stack=4).run([*specs, diverging, other, specs[0]])}
    assert len(results) == 7
    assert diverging.id in str(results[diverging.id].error)
    # Two units of three; what cannot be read is in none of the stacks.
    assert [results[spec.id].value["stacked"] for spec in specs] == [3, 3, 3, 2, 2]
    assert "stacked" not in results[other.id].value
    assert all(results[spec.id].seconds > 0 for spec in specs)
    assert bits(specs[0]) == alone(specs[0])
    again = list(LocalExecutor(1, stack=4).run(specs))
    assert all(result.reused for result in again)


def test_units_hold_one_shape_and_leave_work_for_all(spec_of: SpecOf) -> None:
    specs = [spec_of(seed=seed) for seed in range(10)]
    stopped = [spec_of(seed=seed, stop_at=4) for seed in range(2)]

    def sizes(most: int, workers: int) -> list[int]:
        return [len(unit) for unit in in_stacks([*specs, *stopped], most, workers, shape_of)]

    assert sizes(1, 2) == [1] * 12
    assert sizes(4, 1) == [3, 3, 4, 2]
    assert sizes(64, 2) == [5, 5, 1, 1]
    assert sizes(64, 1) == [10, 2]
    for unit in in_stacks([*specs, *stopped], 4, 2, shape_of):
        assert len({spec.stop_at for spec in unit}) == 1


def test_a_device_is_given_what_fits_and_is_worth_while(spec_of: SpecOf) -> None:
    from regmix_pipeline.proxies.memory import worker_memory
    from regmix_pipeline.proxies.stack.size import best_size, fitting, tried

    preset = spec_of(model=ModelSettings.preset("regmix-1m"), vocabulary=50_432, training=TrainingSettings())
    for free in (2e9, 30e9, 70e9):
        size = fitting(preset, 512, free)
        held = [worker_memory(preset.model, 50_432, 512, "cuda", stack) for stack in (size, size + 1)]
        assert size == 1 or held[0].total - held[0].process <= free
        assert held[1].total - held[1].process > free
    assert fitting(preset, 8, 70e9) == 8
    specs = [spec_of(seed=seed) for seed in range(6)]
    assert tried(specs, CPU) in (1, 4, 6)
    assert best_size(specs, CPU) == 1
    assert not specs[0].folder.exists()


def test_kernels_that_add_in_one_order_give_the_same_bits_on_a_cpu(
    spec_of: SpecOf, alone: Callable[[ProxySpec], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGMIX_DETERMINISTIC", "1")
    specs = [spec_of(seed=seed) for seed in range(2)]
    assert [result.error for result in LocalExecutor(1, stack=2).run(specs)] == [None, None]
    assert [bits(spec) for spec in specs] == [alone(spec) for spec in specs]
