# ruff: noqa: TID253
"""Losses on targets, against a direct computation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.evaluate import evaluate_proxy, load_proxy
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, TargetFile
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.study.settings.proxies import EvaluationSettings


@pytest.fixture
def spec(spec_of: Callable[..., ProxySpec], targets: dict[str, TargetFile], tmp_path: Path) -> EvaluationSpec:
    """A trained proxy, to be evaluated on 20 windows of code."""
    proxy = spec_of()
    train_proxy(proxy)
    return EvaluationSpec(
        proxy=proxy.output,
        target="code",
        tokens=targets["code"],
        evaluation=EvaluationSettings(windows=20),
        folder=tmp_path / "losses",
        device="cpu",
    )


def test_loss_and_standard_error_equal_a_direct_computation(spec: EvaluationSpec) -> None:
    value = evaluate_proxy(spec)
    model = load_proxy(spec.proxy, torch.device("cpu"))
    text = np.fromfile(spec.tokens.path, dtype="<u2").astype(np.int64)
    count = (900 - 1) // 16
    means = []
    for number in range(20):
        start = int((number + 0.5) * count / 20) * 16
        window = torch.from_numpy(text[start : start + 17])
        logits = model(window[None, :-1]) @ model.head.T
        means.append(functional.cross_entropy(logits, window[1:]).item())
    assert value["loss"] == pytest.approx(np.mean(means), rel=1e-5)
    assert value["standard_error"] == pytest.approx(np.std(means, ddof=1) / math.sqrt(20), rel=1e-4)
    assert value["bits_per_byte"] == pytest.approx(np.mean(means) / math.log(2) * 900 / 3100, rel=1e-5)
    ratio = value["bits_per_byte"] / value["loss"]
    assert value["bits_per_byte_standard_error"] == pytest.approx(value["standard_error"] * ratio)
    assert value["evaluated_tokens"] == 320
    assert (value["proxy"], value["target"], value["target_version"]) == (spec.proxy.name, "code", "t1")


def test_what_was_measured_is_read_and_a_changed_target_measured_again(spec: EvaluationSpec) -> None:
    value = evaluate_proxy(spec)
    (spec.proxy / "model.safetensors").unlink()
    assert evaluate_proxy(spec) == value
    changed = spec.model_copy(update={"tokens": spec.tokens.model_copy(update={"version": "t9"})})
    assert changed.id != spec.id
    with pytest.raises(ProxyError, match="not a complete proxy"):
        evaluate_proxy(changed)


def test_an_altered_checkpoint_is_named(spec: EvaluationSpec) -> None:
    weights = spec.proxy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ProxyError, match=spec.proxy.name):
        evaluate_proxy(spec)
    assert not spec.output.exists()


def test_a_target_of_one_window_is_refused(spec: EvaluationSpec, tmp_path: Path) -> None:
    path = tmp_path / "short.ds"
    np.zeros(20, dtype="<u2").tofile(path)
    file = TargetFile(path=path, dtype="uint16", tokens=20, bytes=60, version="t")
    with pytest.raises(ProxyError, match="less than two windows of 16"):
        evaluate_proxy(spec.model_copy(update={"tokens": file}))
