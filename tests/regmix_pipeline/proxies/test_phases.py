# ruff: noqa: TID253  (tests of training)
"""Proxies that go on from a model of earlier phases: the same training, to the bit, as through all phases at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.integrity import is_step, trajectory_of
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.stack.train import train_stack
from regmix_pipeline.proxies.train import TrainingRun, train_proxy
from regmix_pipeline.proxies.windows import Before, TrainingWindows, domain_order, drawn_before

SpecOf = Callable[..., ProxySpec]
STEP = 16 * 8
"""Tokens of a step."""
WEB = {"web": 1_000_000}


@pytest.fixture
def phases_of(spec_of: SpecOf) -> Callable[..., ProxySpec]:
    """Make the spec of a proxy that takes 7 steps after 5 of an earlier phase; keyword arguments change it."""

    def make(earlier: dict[str, int] = WEB, **changes: object) -> ProxySpec:
        training = spec_of().training.model_copy(update={"schedule": "wsd", "decay_fraction": 0.5})
        first, last = (training.model_copy(update={"tokens": steps * STEP}) for steps in (5, 7))
        whole = spec_of()
        start = spec_of(mixture=earlier, training=first, steps_after=7, folder=whole.folder.with_name("phases"))
        return spec_of(**({"training": last, "start": start} | changes))

    return make


def weights_of(spec: ProxySpec) -> dict[str, torch.Tensor]:
    return load_file(spec.output / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_proxy_that_goes_on_is_the_one_that_was_never_interrupted(phases_of: SpecOf, spec_of: SpecOf) -> None:
    split = phases_of(mixture=WEB)
    at_once = spec_of(mixture=WEB, training=split.training.model_copy(update={"tokens": 12 * STEP}))
    train_proxy(split)
    train_proxy(at_once)
    assert equal(weights_of(split), weights_of(at_once))
    rates = [row["learning_rate"] for row in trajectory_of(at_once.output) if is_step(row)]
    found = [[row["learning_rate"] for row in trajectory_of(spec.output) if is_step(row)] for spec in split.phases]
    assert found == [rates[:5], rates[5:]]
    record = json.loads((split.output / "proxy.json").read_text())
    assert (record["steps"], record["tokens"], record["goes_on_from"]) == (7, 7 * STEP, split.start.id)


def test_three_phases_are_three_models_that_go_on_from_each_other(phases_of: SpecOf, spec_of: SpecOf) -> None:
    one = phases_of(mixture=WEB)
    second = one.start.model_copy(update={"start": one.start.model_copy(update={"steps_after": 12})})
    last = one.model_copy(update={"start": second})
    at_once = spec_of(mixture=WEB, training=one.training.model_copy(update={"tokens": 17 * STEP}))
    train_proxy(last)
    train_proxy(at_once)
    assert [spec.steps_before for spec in last.phases] == [0, 5, 10]
    assert equal(weights_of(last), weights_of(at_once))


def test_a_killed_first_phase_goes_on_from_its_snapshot(phases_of: SpecOf) -> None:
    whole, killed = phases_of(), phases_of()
    train_proxy(whole)
    expected = weights_of(whole)
    for folder in (whole.folder, whole.start.folder):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    run = TrainingRun(killed.start.model_copy(update={"snapshot_seconds": 0.0}), torch.device("cpu"))
    for _ in range(3):
        run.trainer.step()
        run.after_step()
    del run  # as a killed process leaves it: a snapshot, and nothing finished
    assert killed.start.snapshot.is_file()
    assert not killed.start.is_finished
    train_proxy(killed)
    assert json.loads((killed.start.output / "proxy.json").read_text())["continued_from_step"] == 3
    assert equal(weights_of(killed), expected)


def test_a_killed_proxy_goes_on_in_its_own_phase(phases_of: SpecOf) -> None:
    spec = phases_of()
    train_proxy(spec.start)
    run = TrainingRun(spec.model_copy(update={"snapshot_seconds": 0.0}), torch.device("cpu"))
    for _ in range(3):
        run.trainer.step()
        run.after_step()
    value = train_proxy(spec)
    assert value["continued_from_step"] == 3
    other = phases_of(folder=spec.folder.with_name("again"))
    train_proxy(other)
    assert equal(weights_of(spec), weights_of(other))


def test_proxies_of_a_stack_go_on_as_each_alone(phases_of: SpecOf) -> None:
    mixtures = [WEB, {"books": 500_000, "code": 500_000}]
    alone = [phases_of(mixture=mixture) for mixture in mixtures]
    stacked = [spec.model_copy(update={"folder": spec.folder.with_name("stacked")}) for spec in alone]
    for spec in alone:
        train_proxy(spec)
    found = train_stack(stacked)
    assert {spec.id for spec in stacked} == set(found)
    assert all(equal(weights_of(one), weights_of(other)) for one, other in zip(alone, stacked, strict=True))


def test_ids_hold_what_a_proxy_goes_on_from(phases_of: SpecOf, spec_of: SpecOf) -> None:
    spec = phases_of()
    start = spec.start
    others = [
        spec.model_copy(update={"start": None}),
        phases_of(earlier={"web": 900_000, "code": 100_000}),
        spec.model_copy(update={"start": start.model_copy(update={"seed": 4})}),
        spec.model_copy(update={"start": start.model_copy(update={"steps_after": 8})}),
    ]
    assert len({each.id for each in others} | {spec.id}) == 5
    assert start.model_copy(update={"steps_after": 0}).id != start.id
    assert ProxySpec.model_validate_json(spec.model_dump_json()) == spec
    # What has one phase keeps the id that it had before there were phases.
    assert spec_of().id == "p8137333e92571216"


@pytest.mark.parametrize("seed", [3, 4])
def test_no_window_comes_again_before_all_have_come(phases_of: SpecOf, seed: int) -> None:
    # Of the 31 windows of books 20 may be seen: the first phase draws 16 of 40, the second 28 of 56.
    spec = phases_of(earlier={"books": 400_000, "web": 600_000}, mixture={"books": 500_000, "web": 500_000}, seed=seed)
    before = drawn_before(spec)
    assert before["books"] == Before(16, 3)
    first = domain_order(3, "books", np.arange(16), 31, 20)
    second = domain_order(seed, "books", np.arange(28), 31, 20, before["books"])
    drawn = [*first.tolist(), *second.tolist()]
    assert len(set(drawn[:20])) == 20
    assert set(drawn[20:40]) == set(drawn[:20])
    at_once = domain_order(3, "books", np.arange(44), 31, 20).tolist()
    assert (drawn == at_once) == (seed == 3)
    windows = TrainingWindows(spec.exact_mixture, spec.shards, 16, 56, seed, {"books": 20}, before=before)
    assert windows.used(56)["books"].windows == 28
    starts = [start for start, domain in zip(windows._starts, windows._domains, strict=True) if domain == 0]
    assert starts == (second * 16).tolist()


def test_what_was_altered_is_found_and_trained_again(phases_of: SpecOf) -> None:
    spec = phases_of()
    train_proxy(spec.start)
    path = spec.start.output / "optimiser.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ProxyError, match=r"optimiser\.safetensors was altered"):
        train_proxy(spec)
    assert not spec.start.is_finished
    assert train_proxy(spec)["goes_on_from"] == spec.start.id
