# ruff: noqa: TID253
"""What runs on CUDA, on a CPU: batched products under autocast to bfloat16, float32 weights, averages and losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import spearmanr

from regmix_pipeline.proxies.evaluate import Sample, losses_on
from regmix_pipeline.proxies.spec import ProxySpec, TargetFile
from regmix_pipeline.proxies.stack.steps import Stack
from regmix_pipeline.proxies.training_loop import TrainingLoop

SpecOf = Callable[..., ProxySpec]
CPU = torch.device("cpu")
STEPS = 40


def specs(spec_of: SpecOf, number: int) -> list[ProxySpec]:
    """Mixtures from nearly all books to nearly all code."""
    training = spec_of().training.model_copy(update={"tokens": 16 * 8 * STEPS})
    parts = [50_000 + 900_000 * place // max(1, number - 1) for place in range(number)]
    return [spec_of(mixture={"books": part, "code": 1_000_000 - part}, training=training, targets={}) for part in parts]


def trained(made: list[ProxySpec], *, bfloat16: bool) -> list[TrainingLoop]:
    stack = Stack([TrainingLoop(spec, CPU) for spec in made], batched=True)
    for _ in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            stack.step([trainer.next_rows() for trainer in stack.trainers])
    return stack.trainers


def test_losses_do_not_depend_on_the_neighbours(spec_of: SpecOf) -> None:
    made = specs(spec_of, 16)
    found = {number: trained(made[:number], bfloat16=True) for number in (1, 4, 16)}
    for number in (1, 4):
        for one, other in zip(found[number], found[16], strict=False):
            torch.testing.assert_close(one.losses, other.losses, rtol=0, atol=0.02)


def test_what_is_kept_is_float32_and_the_ranks_are_those_of_float32(
    spec_of: SpecOf, targets: dict[str, TargetFile]
) -> None:
    made = specs(spec_of, 16)
    half, full = trained(made, bfloat16=True), trained(made, bfloat16=False)
    assert {tensor.dtype for tensor in half[0].tensors.values()} == {torch.float32}
    assert half[0].gradient.dtype == torch.float32
    assert not torch.equal(half[0].flat, full[0].flat)
    for name, file in targets.items():
        sample = Sample(name, file, 16, 40)
        ranks = [[losses_on(trainer.model, [sample])[name].loss for trainer in each] for each in (half, full)]
        assert spearmanr(*ranks).statistic >= 0.99, name


def test_a_loop_by_itself_runs_in_bfloat16_too(spec_of: SpecOf) -> None:
    (spec,) = specs(spec_of, 1)
    loops = [TrainingLoop(spec, CPU) for _ in range(2)]
    for _ in range(10):
        with torch.autocast("cpu", torch.bfloat16):  # anew for every step: it keeps what it casts until it ends
            loops[0].step()
        loops[1].step()
    torch.testing.assert_close(loops[0].losses[:10], loops[1].losses[:10], rtol=0, atol=0.02)
    assert float(loops[0].losses[:10].sub(loops[1].losses[:10]).abs().max()) > 0
    assert loops[0].losses[9] < loops[0].losses[0]


@pytest.mark.parametrize("number", [2])
def test_bfloat16_products_are_taken(spec_of: SpecOf, number: int) -> None:
    stack = Stack([TrainingLoop(spec, CPU) for spec in specs(spec_of, number)], batched=True)
    rows = torch.zeros(number, 8, 16, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        from regmix_pipeline.proxies.stack.model import _linear

        x = torch.ones(number, 4, 16)
        assert _linear(x, stack.parameters["blocks.0.query_key_value.weight"]).dtype == torch.bfloat16
        assert torch.isfinite(stack.hidden(rows)).all()
