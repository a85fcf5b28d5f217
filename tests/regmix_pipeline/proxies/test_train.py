# ruff: noqa: TID253
"""Training a proxy: what is written, that it learns, and that the same spec gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from regmix_pipeline.errors import ProxyError, StudyError, TokenError
from regmix_pipeline.proxies.integrity import is_step, trajectory_of, trajectory_schema
from regmix_pipeline.proxies.spec import ProxySpec, TokenFile
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.proxies.training_loop import TrainingLoop

SpecOf = Callable[..., ProxySpec]


def test_a_proxy_is_a_whole_folder(spec_of: SpecOf) -> None:
    spec = spec_of()
    value = train_proxy(spec)
    names = {path.name for path in spec.output.iterdir()}
    assert names == {"model.safetensors", "proxy.json", "trajectory.parquet", "speed.parquet"}
    assert [path.name for path in spec.folder.iterdir()] == [spec.id]
    assert value == json.loads((spec.output / "proxy.json").read_text())
    assert ProxySpec.model_validate(value["spec"]).id == spec.id
    weights = load_file(spec.output / "model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == value["parameters"]
    table = pq.read_table(spec.output / "trajectory.parquet")
    assert table.schema.equals(trajectory_schema())
    rows = table.to_pylist()
    assert {row["step"] for row in rows if not is_step(row)} == {3, 6, 12}
    assert {row["target"] for row in rows} == {"books", "code", None}


def test_every_step_is_in_the_trajectory(spec_of: SpecOf) -> None:
    spec = spec_of()
    train_proxy(spec)
    steps = [row for row in trajectory_of(spec.output) if is_step(row)]
    trainer = TrainingLoop(spec, torch.device("cpu"))
    for row in steps:
        trainer.step()
        assert row["step"] == trainer.taken
        assert row["tokens"] == trainer.taken * 16 * 8
        assert row["training_loss"] == pytest.approx(float(trainer.losses[trainer.taken - 1]))
        # The gradient is clipped to the norm that is allowed, and the row has it before that.
        clipped = min(row["gradient_norm"], spec.training.clip)
        assert float(torch.linalg.vector_norm(trainer.gradient)) == pytest.approx(clipped, rel=1e-3)
        assert row["learning_rate"] == spec.training.learning_rate_at(trainer.taken - 1, 12)
    assert len(steps) == 12
    speed = pq.read_table(spec.output / "speed.parquet")
    assert speed["step"].to_pylist()[-1] == 12
    assert min(speed["tokens_per_second"].to_pylist()) > 0


def test_executed_tokens_are_the_mixtures(spec_of: SpecOf) -> None:
    value = train_proxy(spec_of())
    assert value["tokens"] == 16 * 8 * 12 == sum(use["tokens"] for use in value["domains"].values())
    for domain, part in {"books": 150_000, "code": 600_000, "web": 250_000}.items():
        assert abs(value["domains"][domain]["windows"] - 96 * part / 1e6) < 1
    books = value["domains"]["books"]
    assert books["epochs"] == pytest.approx(books["tokens"] / ((500 - 1) // 16 * 16))


def test_a_finished_proxy_is_not_trained_again(spec_of: SpecOf) -> None:
    spec = spec_of()
    first = train_proxy(spec)
    written = (spec.output / "proxy.json").stat().st_mtime_ns
    assert train_proxy(spec) == first
    assert (spec.output / "proxy.json").stat().st_mtime_ns == written


def test_the_same_spec_gives_the_same_bytes(spec_of: SpecOf, tmp_path: Path) -> None:
    specs = [spec_of(folder=tmp_path / name) for name in ("first", "second")]
    for spec in specs:
        train_proxy(spec)
    contents = [(spec.output / "model.safetensors").read_bytes() for spec in specs]
    assert specs[0].id == specs[1].id
    assert contents[0] == contents[1]
    trajectories = [(spec.output / "trajectory.parquet").read_bytes() for spec in specs]
    assert trajectories[0] == trajectories[1]


def test_it_learns_the_domain_it_is_given(spec_of: SpecOf) -> None:
    training = spec_of().training.model_copy(update={"tokens": 16 * 8 * 60})
    final = {}
    for domain in ("books", "code"):
        spec = spec_of(mixture={domain: 1_000_000}, training=training)
        train_proxy(spec)
        rows = pq.read_table(spec.output / "trajectory.parquet").to_pylist()
        final[domain] = {row["target"]: row["loss"] for row in rows if row["step"] == 60 and not is_step(row)}
    assert final["books"]["books"] < final["code"]["books"] - 1
    assert final["code"]["code"] < final["books"]["code"] - 1


def test_gradients_do_not_depend_on_how_a_step_is_cut(spec_of: SpecOf) -> None:
    whole, cut = (TrainingLoop(spec_of(), torch.device("cpu")) for _ in range(2))
    cut.passes = 4
    for trainer in (whole, cut):
        trainer.step()
    torch.testing.assert_close(whole.gradient, cut.gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole.losses[0], cut.losses[0])


def test_ids_follow_what_shapes_the_weights(spec_of: SpecOf, shards: dict[str, TokenFile], tmp_path: Path) -> None:
    spec = spec_of(mixture={"books": 400_000, "code": 600_000, "web": 0})
    newer = {name: file.model_copy(update={"version": "new"}) for name, file in shards.items()}
    same = [
        {"targets": {}},
        {"folder": tmp_path / "elsewhere"},
        {"mixture": {"code": 600_000, "books": 400_000}},
        {"shards": shards | {"web": newer["web"]}},
        {"available_windows": {"web": 3}},
    ]
    other = [
        {"seed": 4},
        {"vocabulary": 62},
        {"mixture": {"books": 400_001, "code": 599_999}},
        {"shards": shards | {"code": newer["code"]}},
        {"available_windows": {"books": 3}},
        {"model": spec.model.model_copy(update={"layers": 1})},
        {"training": spec.training.model_copy(update={"clip": 0.5})},
    ]
    assert {spec_of(**({"mixture": spec.mixture} | change)).id for change in same} == {spec.id}
    assert len({spec_of(**({"mixture": spec.mixture} | change)).id for change in other} | {spec.id}) == 8
    assert ProxySpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("with_targets", [True, False])
def test_a_loss_that_is_not_finite_names_proxy_and_step(spec_of: SpecOf, with_targets: bool) -> None:
    training = spec_of().training.model_copy(update={"learning_rate": 1e30})
    spec = spec_of(training=training, **({} if with_targets else {"targets": {}}))
    with pytest.raises(ProxyError, match=rf"proxy {spec.id} step [23]: the .*loss.* is nan"):
        train_proxy(spec)
    assert not spec.output.exists()
    assert not spec.folder.exists() or not list(spec.folder.iterdir())


def test_tokens_outside_the_vocabulary_are_named(spec_of: SpecOf) -> None:
    with pytest.raises(ProxyError, match="outside the vocabulary of 20"):
        train_proxy(spec_of(vocabulary=20))


def test_a_truncated_shard_is_named(spec_of: SpecOf, shards: dict[str, TokenFile], tmp_path: Path) -> None:
    path = tmp_path / "short.ds"
    np.fromfile(shards["web"].path, dtype="<u2")[:4000].tofile(path)
    broken = shards | {"web": shards["web"].model_copy(update={"path": path})}
    with pytest.raises(TokenError, match=r"short\.ds: the token file has 8000 bytes, not 10000"):
        train_proxy(spec_of(shards=broken))


def test_a_budget_below_a_step_and_a_missing_shard_are_refused(spec_of: SpecOf, shards: dict[str, TokenFile]) -> None:
    with pytest.raises(StudyError, match="less than one step"):
        train_proxy(spec_of(training=spec_of().training.model_copy(update={"tokens": 10})))
    with pytest.raises(ValueError, match="no training tokens for"):
        spec_of(shards={"web": shards["web"]})
