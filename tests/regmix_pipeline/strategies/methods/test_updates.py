"""Every update rule and law against a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.strategies.methods.doremi import updated
from regmix_pipeline.strategies.methods.odm import exploration, policy_at, rewarded
from regmix_pipeline.strategies.methods.size_law import size_law


def test_doremi_raises_weights_by_the_clipped_excess() -> None:
    # .5 e^1 : .3 e^0 : .2 e^0 (clipped) = 1.35914 : .3 : .2, sum 1.85914; then .999 of that and .001 / 3.
    found = updated(np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, -2.0]))
    share = np.array([0.5 * np.e, 0.3, 0.2]) / (0.5 * np.e + 0.5)
    assert found == pytest.approx(0.999 * share + 0.001 / 3, abs=1e-12)
    assert found == pytest.approx([0.7306554, 0.1615365, 0.1078021], abs=1e-5)
    assert found.sum() == pytest.approx(1)


def test_doremi_steps_and_smooths_as_its_options_say() -> None:
    found = updated(np.array([0.5, 0.5]), np.array([np.log(3.0), 0.0]), step_size=2.0, smoothing=0.1)
    # 9 : 1 = .9 : .1; .9 x .9 + .05 = .86
    assert found == pytest.approx([0.86, 0.14], abs=1e-12)


def test_exploration_falls_with_the_turns() -> None:
    # K = 4: sqrt(ln 4 / 4) = .589 is above 1 / 4; after 100 turns sqrt(1.386294 / 400) = .0588705.
    assert exploration(1, 4) == 0.25
    assert exploration(100, 4) == pytest.approx(0.0588705, abs=1e-6)
    assert exploration(10_000, 4) == pytest.approx(exploration(100, 4) / 10)


def test_the_bandit_s_policy_by_hand() -> None:
    # Turn 1: e_1 = 1 / 2 leaves nothing but exploring.
    assert policy_at(1, np.array([5.0, 0.0])) == pytest.approx([0.5, 0.5])
    # Turn 50 of K = 2: e = sqrt(ln 2 / 100) = .0832555, before sqrt(ln 2 / 98) = .0841008.
    rewards = np.array([10.0, 0.0])
    score = np.exp(0.0841008 * 10)
    expected = (1 - 2 * 0.0832555) * score / (score + 1) + 0.0832555
    assert policy_at(50, rewards) == pytest.approx([expected, 1 - expected], abs=1e-6)


def test_large_rewards_do_not_overflow() -> None:
    found = policy_at(2000, np.array([1e6, 0.0, 0.0]))
    assert found.sum() == pytest.approx(1)
    assert found[1] == pytest.approx(exploration(2000, 3))


def test_the_bandit_s_rewards_by_hand() -> None:
    # .9 x 2 + .1 x 3 / .5 = 2.4; what was not drawn keeps its reward.
    found = rewarded(np.array([2.0, 7.0]), np.array([3.0, np.nan]), np.array([0.5, 0.5]), 0.9)
    assert found == pytest.approx([2.4, 7.0])


def test_the_size_law_finds_what_made_the_losses() -> None:
    sizes = np.array([1e6, 3e6, 1e7])
    slopes = np.array([1.0, 1.5, 2.0, 3.0])
    losses = 1.7 + slopes[:, None] * (sizes / 1e6) ** -0.25
    exact = 1.7 + slopes * (1e9 / 1e6) ** -0.25
    assert size_law(losses, sizes, 1e9) == pytest.approx(exact, abs=5e-3)
    # Two sizes do, since floor and power are shared.
    assert size_law(losses[:, :2], sizes[:2], 1e9) == pytest.approx(exact, abs=2e-2)


def test_the_size_law_s_floor_is_not_negative() -> None:
    losses = np.array([[1.0, 0.2], [2.0, 0.3], [1.5, 0.2]])
    assert (size_law(losses, np.array([1e6, 1e8]), 1e12) >= 0).all()
