"""Presets are the paper's, parameter counts are the model's, schedules go where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regmix_pipeline.errors import StudyError
from regmix_pipeline.proxies.model import Decoder
from regmix_pipeline.study.settings.proxies import PRESETS, EvaluationSettings, ModelSettings, TrainingSettings


def test_the_papers_proxy() -> None:
    model, training = ModelSettings.preset("regmix-1m"), TrainingSettings.preset("regmix-1m")
    assert 1.2e6 < model.non_embedding_parameters() < 1.4e6
    assert training.steps(model.context) == 1000
    assert training.learning_rate_at(100, 1000) == training.learning_rate_at(999, 1000) == 4e-4


def test_sizes_of_the_larger_presets() -> None:
    assert 55e6 < ModelSettings.preset("regmix-60m").non_embedding_parameters() < 65e6
    assert 1.0e9 < ModelSettings.preset("tinyllama-1b").non_embedding_parameters() < 1.2e9


def test_the_large_demo_has_four_times_the_parameters_and_tokens() -> None:
    small, large = (ModelSettings.preset(name).parameters(4096) for name in ("demo", "demo-large"))
    assert large / small == pytest.approx(4, rel=0.03)
    tokens = [TrainingSettings.preset(name).tokens for name in ("demo", "demo-large")]
    assert tokens[1] == 4 * tokens[0]


@pytest.mark.parametrize("name", ["demo", "demo-large", "regmix-1m"])
def test_parameters_are_counted_right(name: str) -> None:
    settings = ModelSettings.preset(name)
    model = Decoder(settings, 500)
    assert sum(parameter.numel() for parameter in model.parameters()) == settings.parameters(500)


def test_flops_of_a_tiny_model_by_hand() -> None:
    model = ModelSettings(context=10, layers=1, width=8, heads=2, ffn_width=8)
    # 4 x 64 + 3 x 64 = 448 weights in the layer, 3 x 8 in the head, 2 FLOPs each; 2 x 10 x 8 for attention; x 3.
    assert model.training_flops_per_token(3) == 3 * (2 * (448 + 24) + 160)


@pytest.mark.parametrize("name", PRESETS)
def test_changes_to_a_preset(name: str) -> None:
    assert ModelSettings.preset(name, layers=5).layers == 5
    assert TrainingSettings.preset(name, tokens=10**9).tokens == 10**9


def test_bad_settings_are_named() -> None:
    with pytest.raises(StudyError, match="no preset 'large'"):
        ModelSettings.preset("large")
    with pytest.raises(ValidationError, match="even multiple of heads"):
        ModelSettings(width=24, heads=8)
    with pytest.raises(StudyError, match="less than one step"):
        TrainingSettings(tokens=100).steps(2048)


@given(st.sampled_from(["constant", "cosine", "wsd"]), st.integers(1, 60), st.integers(0, 20), st.floats(0.05, 1.0))
def test_schedules_rise_then_never_rise_again(schedule: str, steps: int, warmup: int, fraction: float) -> None:
    settings = TrainingSettings(schedule=schedule, warmup_steps=warmup, decay_fraction=fraction)  # pyright: ignore
    rates = [settings.learning_rate_at(step, steps) for step in range(steps)]
    rising, falling = rates[: warmup + 1], rates[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert min(rates) > 0
    assert max(rates) <= settings.learning_rate


def test_decays_end_near_the_final_fraction() -> None:
    for schedule in ("cosine", "wsd"):
        settings = TrainingSettings(schedule=schedule, warmup_steps=10, final_fraction=0.1)
        assert settings.learning_rate_at(10, 1000) == pytest.approx(settings.learning_rate, rel=0.01)
        assert settings.learning_rate_at(999, 1000) == pytest.approx(0.1 * settings.learning_rate, rel=0.1)


@given(st.integers(1, 5000), st.integers(0, 12))
def test_trajectory_steps_are_increasing_and_end_with_the_last(steps: int, points: int) -> None:
    chosen = EvaluationSettings(trajectory_points=points).trajectory_steps(steps)
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= points
    assert not points or (chosen[-1] == steps and chosen[0] >= 1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_pass_on_cuda_keeps_no_more_than_a_workers_share_and_on_a_cpu_is_small(name: str) -> None:
    model = ModelSettings.preset(name)
    tokens = model.tokens_per_pass("cuda")
    kept = 2 * model.layers * (12 * model.width + 4 * model.ffn_width)  # bytes a token
    assert model.context <= tokens <= 65_536
    assert tokens * kept <= 8 * 2**30
    assert model.tokens_per_pass("cpu") == 2048
