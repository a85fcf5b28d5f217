"""Bayesian optimisation over mixture and size."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.methods.multi_fidelity import MultiFidelity, TwoSizes, knowledge_gradient
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld


def curve(weights: np.ndarray) -> np.ndarray:
    return 2 + (weights[:, 0] - 0.4) ** 2 - 0.3 * np.sqrt(weights[:, 1])


def two_sizes(alike: bool) -> tuple[TwoSizes, np.ndarray]:
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(3), 40)
    small = curve(weights) if alike else curve(weights[:, [2, 0, 1]])
    values = np.r_[small + 0.8, curve(weights[:12])] + 0.002 * generator.standard_normal(52)
    return TwoSizes.fitted(np.concatenate([weights, weights[:12]]), np.repeat([0, 1], [40, 12]), values), weights


def test_small_runs_tell_of_large_ones_as_far_as_the_sizes_agree() -> None:
    (alike, weights), (unlike, _) = two_sizes(True), two_sizes(False)
    assert alike.correlation >= 0.98 > 0.6 > unlike.correlation
    # Of mixtures that were measured at the smaller size alone.
    assert np.abs(alike.mean(weights[12:], 1) - curve(weights[12:])).mean() < 0.01
    assert alike.mean(weights[12:], 0).mean() - alike.mean(weights[12:], 1).mean() == pytest.approx(0.8, abs=0.02)
    mean, covariance = alike.belief(weights[12:])
    assert mean == pytest.approx(np.r_[alike.mean(weights[12:], 0), alike.mean(weights[12:], 1)])
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    assert (np.diag(covariance)[:28] < np.diag(covariance)[28:]).all()


def test_the_knowledge_gradient_is_the_expected_fall_of_the_least_mean() -> None:
    generator = np.random.default_rng(1)
    root = generator.standard_normal((8, 8)) * 0.3
    mean, covariance, noise = generator.normal(0, 0.2, 8), root @ root.T, 0.05
    found = knowledge_gradient(mean, covariance, noise)
    drawn = generator.standard_normal(200_000)
    for row in range(8):
        step = covariance[row, 4:] / np.sqrt(covariance[row, row] + noise)
        expected = mean[4:].min() - (mean[4:] + drawn[:, None] * step).min(axis=1).mean()
        assert found[row] == pytest.approx(expected, abs=0.02)
    assert (found > -1e-9).all()


def test_it_trains_both_sizes_within_the_budget_and_finds_a_good_mixture() -> None:
    shares = []
    for seed in range(3):
        world = SyntheticWorld("scarce", seed)
        arena = world.fresh()
        choice = MultiFidelity(rounds=4).choose(arena, 24 * arena.proxy.flops)
        large, small = choice.details["proxies"], choice.details["small_proxies"]
        assert world.small_proxy is not None
        assert arena.account.runs == large + small
        assert 4 <= large < small
        spent = arena.account.flops / arena.proxy.flops
        assert spent == pytest.approx(large + small * world.small_proxy.flops / world.proxy.flops)
        assert 23 < spent <= 24 * (1 + 1e-9)
        shares.append(world.regret(choice)[1])
    assert np.mean(shares) < 0.2


def test_it_wants_a_smaller_proxy_and_something_to_do() -> None:
    world = SyntheticWorld("easy", 0)
    world.small_proxy = None
    with pytest.raises(StudyError, match="smaller proxies"):
        MultiFidelity().choose(world, 64 * world.proxy.flops)
    with pytest.raises(StudyError, match="no rounds"):
        MultiFidelity(rounds=0)
