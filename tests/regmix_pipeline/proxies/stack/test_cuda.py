# ruff: noqa: TID253
"""On a card: a stack of any size gives the losses that each proxy has alone, within bfloat16's noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.size import best_size
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.stack.train import train_stack
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.training_loop import TrainingLoop
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
SpecOf = Callable[..., ProxySpec]
NOISE = 0.03
"""Nats that bfloat16 may move a training loss of a few steps by."""
MODEL = ModelSettings(context=64, layers=2, width=64, heads=4, ffn_width=128)
TRAINING = TrainingSettings(tokens=64 * 8 * 20, windows_per_step=8, learning_rate=5e-3, warmup_steps=2)


def specs(spec_of: SpecOf, number: int) -> list[ProxySpec]:
    return [spec_of(seed=seed, device="cuda", model=MODEL, training=TRAINING) for seed in range(number)]


def losses(spec_of: SpecOf, number: int) -> np.ndarray:
    device = torch.device("cuda", 0)
    stack = Stack([TrainingLoop(spec, device) for spec in specs(spec_of, number)])
    for _ in range(20):
        stack.step([trainer.next_rows() for trainer in stack.trainers])
    return torch.stack([trainer.losses for trainer in stack.trainers]).cpu().numpy()


def test_losses_do_not_depend_on_the_neighbours(spec_of: SpecOf) -> None:
    alone = TrainingLoop(specs(spec_of, 1)[0], torch.device("cuda", 0))
    for _ in range(20):
        alone.step()
    found = {number: losses(spec_of, number) for number in (1, 4, 16)}
    for number in (1, 4, 16):
        np.testing.assert_allclose(found[number][0], alone.losses.cpu().numpy(), atol=NOISE)
    np.testing.assert_allclose(found[4], found[16][:4], atol=NOISE)


def test_losses_are_near_those_of_float32_on_a_cpu(spec_of: SpecOf) -> None:
    cpu = TrainingLoop(specs(spec_of, 1)[0].model_copy(update={"device": "cpu"}), torch.device("cpu"))
    for _ in range(20):
        cpu.step()
    np.testing.assert_allclose(losses(spec_of, 2)[0], cpu.losses.numpy(), atol=2 * NOISE)


def test_a_stack_is_trained_written_and_continued(spec_of: SpecOf) -> None:
    made = specs(spec_of, 4)
    diverging = made[0].model_copy(
        update={"training": TRAINING.model_copy(update={"learning_rate": 1e30}), "folder": made[0].folder}
    )
    found = train_stack([*made, diverging])
    assert "nan" in str(found[diverging.id])
    for spec in made:
        value = found[spec.id]
        assert isinstance(value, dict)
        assert value["device"].startswith("cuda")
    assert train_proxy(made[0]) == found[made[0].id]


def with_graphs(spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch, wanted: str) -> tuple[Stack, np.ndarray]:
    monkeypatch.setenv("REGMIX_CUDA_GRAPHS", wanted)
    stack = Stack([TrainingLoop(spec, torch.device("cuda", 0)) for spec in specs(spec_of, 4)])
    for _ in range(20):
        stack.step([trainer.next_rows() for trainer in stack.trainers])
    return stack, torch.stack([trainer.losses for trainer in stack.trainers]).cpu().numpy()


def test_steps_from_graphs_are_those_of_single_kernels(spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch) -> None:
    (stack, found), (plain, expected) = (with_graphs(spec_of, monkeypatch, wanted) for wanted in ("1", "0"))
    assert stack.graphs is not None
    assert plain.graphs is None
    np.testing.assert_allclose(found, expected, atol=NOISE)
    norms = [torch.stack([trainer.norms for trainer in each.trainers]).cpu().numpy() for each in (stack, plain)]
    np.testing.assert_allclose(*norms, rtol=0.1)
    assert {float(trainer.optimiser.taken) for trainer in stack.trainers} == {20.0}


def test_what_no_graph_can_hold_is_done_kernel_by_kernel(
    spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    waits = Stack.add_gradients

    def waiting(stack: Stack, part: torch.Tensor, scale: float) -> torch.Tensor:
        found = waits(stack, part, scale)
        found.sum().item()
        return found

    monkeypatch.setattr(Stack, "add_gradients", waiting)
    stack, found = with_graphs(spec_of, monkeypatch, "1")
    assert stack.graphs is None
    assert "no CUDA graphs" in capfd.readouterr().err
    assert np.isfinite(found).all()


def test_a_trial_finds_a_size_that_fits(spec_of: SpecOf) -> None:
    made = specs(spec_of, 16)
    assert best_size(made, torch.device("cuda", 0)) in (1, 4, 16)


def test_master_weights_and_averages_are_float32(spec_of: SpecOf) -> None:
    loops = [TrainingLoop(spec, torch.device("cuda", 0)) for spec in specs(spec_of, 2)]
    stack = Stack(loops)
    stack.step([trainer.next_rows() for trainer in loops])
    for trainer in loops:
        assert {tensor.dtype for tensor in trainer.tensors.values()} == {torch.float32}
