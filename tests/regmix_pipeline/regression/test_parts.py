"""Metrics, folds, blends and conformal quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from regmix_pipeline.regression.blend import blend_weights, blended, cross_fitted
from regmix_pipeline.regression.choice import HeldOut, choose
from regmix_pipeline.regression.folds import random_folds, region_folds
from regmix_pipeline.regression.intervals import conformal_quantile, coverage_rows
from regmix_pipeline.regression.metrics import scores_with_intervals, spearman


@given(seed=st.integers(0, 2**31), rows=st.integers(5, 60))
@settings(max_examples=25, deadline=None)
def test_spearman_is_scipys(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 8, (rows, 2)).astype(float), generator.normal(size=(rows, 2))
    a[0], a[1] = 0.0, 7.0  # not constant
    expected = [spearmanr(a[:, j], b[:, j])[0] for j in range(2)]
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-9)


def test_scores_of_a_constant_are_zero_and_finite() -> None:
    actual = np.random.default_rng(0).normal(3, 1, (20, 1))
    found = scores_with_intervals(np.full((20, 1), 3.0), actual, 0.9, 100, 0)
    assert found["spearman"][0][0] == 0.0
    assert all(np.isfinite(part).all() for parts in found.values() for part in parts)


def test_bootstrap_interval_covers_the_true_correlation() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        a = generator.normal(size=(80, 1))
        b = 0.8 * a + 0.6 * generator.normal(size=(80, 1))
        _, low, high = scores_with_intervals(a, b, 0.9, 200, trial)["pearson"]
        hits += int(low[0] <= 0.8 <= high[0])
    assert 165 <= hits <= 195


@given(rows=st.integers(4, 300), folds=st.integers(2, 12), seed=st.integers(0, 9))
def test_random_folds_are_balanced(rows: int, folds: int, seed: int) -> None:
    sizes = np.bincount(random_folds(rows, folds, seed))
    assert sizes.min() >= 2
    assert np.ptp(sizes) <= 1


def test_region_folds_leave_out_the_heaviest_rows() -> None:
    weights = np.random.default_rng(0).dirichlet([2.0, 1.0, 0.3], size=200)
    fold = region_folds(weights)
    assert fold is not None
    first = int(np.argmax(weights.std(axis=0)))
    assert weights[fold == 0, first].min() >= weights[fold != 0, first].max()
    assert (fold == -1).mean() > 0.4
    assert region_folds(weights[:20]) is None


def test_blend_prefers_the_better_and_is_a_mean() -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(3, 1, (100, 2))
    good, bad = actual + generator.normal(0, 0.1, (100, 2)), generator.normal(3, 1, (100, 2))
    biased = actual * 1.5
    held_out = {"good": good, "bad": bad, "biased": biased}
    weights = blend_weights(held_out, actual)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert weights.min() >= 0
    assert (weights[0] > 0.9).all()
    assert blended(held_out, weights).shape == (100, 2)


def test_cross_fitted_stack_ignores_the_fold_it_predicts() -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(3, 1, (60, 1))
    held_out = {name: actual + generator.normal(0, size, (60, 1)) for name, size in (("a", 0.3), ("b", 0.5))}
    fold = np.arange(60) % 3
    before = cross_fitted(held_out, actual, fold)
    spoiled = actual.copy()
    spoiled[fold == 0] += generator.normal(0, 5, (20, 1))
    after = cross_fitted(held_out, spoiled, fold)
    np.testing.assert_array_equal(before[fold == 0], after[fold == 0])
    assert not np.array_equal(before[fold == 1], after[fold == 1])


def test_a_tie_goes_to_the_stack_and_a_clear_winner_wins() -> None:
    generator = np.random.default_rng(0)
    actual = generator.normal(3, 1, (200, 1))
    noise = generator.normal(0, 0.2, (200, 1))
    fold = np.arange(200) % 5
    tied = HeldOut("random", fold, {"lightgbm": actual + noise, "stack": actual + 1.01 * noise})
    assert choose([tied], actual, "calibration") == ["stack"]
    clear = HeldOut("random", fold, {"lightgbm": actual + 0.1 * noise, "stack": actual + noise})
    assert choose([clear], actual, "calibration") == ["lightgbm"]
    assert choose([clear], actual, "rank") == ["lightgbm"]


@given(n=st.integers(3, 50), level=st.floats(0.5, 0.99))
def test_conformal_quantile_leaves_enough_below(n: int, level: float) -> None:
    sizes = np.random.default_rng(n).exponential(size=(n, 1))
    below = (sizes <= conformal_quantile(sizes, level)).sum()
    assert below >= min(np.ceil(level * (n + 1)), n)


def test_coverage_is_what_was_asked_for() -> None:
    residual = np.random.default_rng(0).standard_t(4, size=(400, 1))
    row = coverage_rows(residual, np.ones_like(residual), np.arange(400) % 5, ["t"], ["law"], 0.9)[0]
    assert row["value"] == pytest.approx(0.9, abs=0.04)
    assert row["low"] < row["value"] < row["high"]
