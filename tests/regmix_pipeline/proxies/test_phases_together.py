# ruff: noqa: TID253  (tests of training)
"""Proxies that draw the mixtures of several phases one after the other, in one training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file

from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.proxies.integrity import is_step, trajectory_of
from regmix_pipeline.proxies.spec import ProxySpec, TokenFile
from regmix_pipeline.proxies.stack.train import train_stack
from regmix_pipeline.proxies.train import TrainingRun, train_proxy
from regmix_pipeline.proxies.windows import TrainingWindows, schedule_of, windows_of_phases, within_quota
from regmix_pipeline.study.coordinates import of_phase, phase_of
from regmix_pipeline.study.phases import parts_of_phases

SpecOf = Callable[..., ProxySpec]
PHASES = (("pretraining", 700_000), ("annealing", 300_000))
BOTH = {"pretraining/web": 600_000, "pretraining/code": 100_000, "annealing/code": 50_000, "annealing/books": 250_000}


@pytest.fixture
def both(spec_of: SpecOf) -> ProxySpec:
    """A proxy of two phases."""
    return spec_of(mixture=BOTH, phases_together=PHASES)


def weights_of(spec: ProxySpec) -> dict[str, torch.Tensor]:
    return load_file(spec.output / "model.safetensors")


@given(
    st.lists(st.integers(1, 1_000), min_size=2, max_size=3),
    st.integers(1, 400),
    st.lists(st.integers(1, 1_000), min_size=9, max_size=9),
)
def test_every_phase_takes_its_windows_and_draws_its_block_of_the_mixture(
    tokens: list[int], windows: int, weights: list[int]
) -> None:
    parts = parts_of_phases((f"p{number}", each) for number, each in enumerate(tokens))
    assert sum(parts.values()) == PARTS
    blocks = np.array(weights[: 3 * len(parts)], dtype=float).reshape(len(parts), 3)
    blocks *= np.array(list(parts.values()))[:, None] / blocks.sum(axis=1, keepdims=True)
    mixture = Mixture.from_weights(
        {f"{phase}/{name}": blocks[p, d] for p, phase in enumerate(parts) for d, name in enumerate("abc")}
    )
    schedule = schedule_of(mixture, windows, "quota", 0, parts)
    names = [name for name, _ in mixture.parts]
    before = 0
    for phase, (first, end) in windows_of_phases(parts, windows).items():
        assert first == before
        before = end
        # Windows of a phase within half a window of its share of all, and of a domain within one of the phase's.
        assert abs((end - first) - parts[phase] / PARTS * windows) <= 1
        share = of_phase(mixture.weights, phase)
        drawn = [names[number] for number in schedule[first:end]]
        assert {phase_of(name) for name in drawn} <= {phase}
        for domain, weight in share.items():
            assert abs(drawn.count(f"{phase}/{domain}") - weight * (end - first)) <= 1 + 1e-3
    assert before == windows
    counts = {name: int((schedule == number).sum()) for number, name in enumerate(names)}
    assert within_quota(mixture, counts, parts)


def test_a_phase_that_draws_another_block_or_length_is_found() -> None:
    mixture, parts = Mixture.of({"a/x": 500_000, "a/y": 200_000, "b/y": 300_000}), {"a": 700_000, "b": 300_000}
    assert within_quota(mixture, {"a/x": 50, "a/y": 20, "b/y": 30}, parts)
    assert not within_quota(mixture, {"a/x": 52, "a/y": 18, "b/y": 30}, parts)
    assert not within_quota(mixture, {"a/x": 50, "a/y": 22, "b/y": 28}, parts)


def test_equal_mixtures_of_both_phases_see_what_a_proxy_of_one_phase_sees(shards: dict[str, TokenFile]) -> None:
    one = Mixture.of({"web": 625_000, "code": 250_000, "books": 125_000})
    parts = {"pretraining": 750_000, "annealing": 250_000}
    same = Mixture.in_all_phases(one.weights, parts)
    plain = TrainingWindows(one, shards, 16, 160, 3)
    phased = TrainingWindows(same, shards, 16, 160, 3, phases=parts)
    used, together = plain.used(160), phased.used(160)
    for domain, use in used.items():
        drawn = [together[f"{phase}/{domain}"] for phase in parts]
        assert sum(each.windows for each in drawn) == use.windows
        assert [each.windows for each in drawn] == [round(0.75 * use.windows), round(0.25 * use.windows)]
        assert {each.available_tokens for each in drawn} == {use.available_tokens}
        # A domain's draws go on from one phase to the next: the same windows in the same order.
        rows = [
            each.read(0, 160)[np.array([each.domains[k] == domain for k in each.schedule])] for each in (plain, phased)
        ]
        assert (rows[0] == rows[1]).all()
    first = [phased.domains[k] for k in phased.schedule[:120]]
    assert abs(first.count("web") - 75) <= 1


def test_multinomial_draws_change_the_mixture_where_a_phase_begins(shards: dict[str, TokenFile]) -> None:
    mixture, parts = Mixture.of({"a/web": 600_000, "b/code": 400_000}), {"a": 600_000, "b": 400_000}
    found = TrainingWindows(mixture, shards, 16, 50, 3, draws="multinomial", phases=parts)
    assert [found.domains[k] for k in found.schedule] == ["web"] * 30 + ["code"] * 20


def test_one_training_with_one_schedule_of_learning_rates_goes_through_both(both: ProxySpec, spec_of: SpecOf) -> None:
    record = train_proxy(both)
    plain = spec_of(mixture={"web": 1_000_000})
    train_proxy(plain)
    rates = [[row["learning_rate"] for row in trajectory_of(spec.output) if is_step(row)] for spec in (both, plain)]
    assert rates[0] == rates[1]
    # 12 steps of 8 windows: 67 of the first phase, in the middle of a step, and 29 of the second.
    windows = {name: use["windows"] for name, use in record["domains"].items()}
    assert sum(count for name, count in windows.items() if phase_of(name) == "pretraining") == 67
    assert sum(windows.values()) == 96
    assert record["tokens"] == 96 * 16
    again = ProxySpec.model_validate(json.loads((both.output / "proxy.json").read_text())["spec"])
    assert again.id == both.id


def test_a_stack_and_a_killed_training_give_the_same_bits(both: ProxySpec, spec_of: SpecOf, tmp_path: Path) -> None:
    train_proxy(both)
    killed = both.model_copy(update={"folder": tmp_path / "killed", "snapshot_seconds": 0.0})
    run = TrainingRun(killed, torch.device("cpu"))
    for _ in range(9):  # into the second phase
        run.trainer.step()
        run.after_step()
    del run
    train_proxy(killed)
    assert json.loads((killed.output / "proxy.json").read_text())["continued_from_step"] == 9
    stacked = both.model_copy(update={"folder": tmp_path / "stacked"})
    for _ in train_stack([stacked, spec_of(folder=tmp_path / "stacked")]):
        pass
    for other in (killed, stacked):
        found, expected = weights_of(other), weights_of(both)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_ids_know_the_phases_and_others_do_not_change(both: ProxySpec, spec_of: SpecOf) -> None:
    turned = both.model_copy(update={"phases_together": PHASES[::-1]})
    assert turned.id != both.id
    assert spec_of(phases_together=()).id == spec_of().id
    with pytest.raises(ValidationError, match="the weights of pretraining sum to 700000 parts, not 600000"):
        spec_of(mixture=BOTH, phases_together=(("pretraining", 600_000), ("annealing", 400_000)))
    with pytest.raises(ValidationError, match=r"no training tokens for \['wiki'\]"):
        spec_of(mixture={"pretraining/wiki": 700_000, "annealing/web": 300_000}, phases_together=PHASES)
