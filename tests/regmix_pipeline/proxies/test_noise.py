"""The noise floor: what seeds do to ranks, separated from what they do to all mixtures alike."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.proxies.noise import mixture_means, noise_floor


def measured(mixtures: int, replicated: int, seeds: int, noise: float, shift: float, seed: int = 0):
    """Losses of two targets: true ones spread by 0.5 and 0.01, each seed shifts them all, and every one is noisy."""
    rng = np.random.Generator(np.random.PCG64(seed))
    true = rng.normal(0, [0.5, 0.01], (mixtures, 2)) + 4
    shifts = rng.normal(0, shift, (seeds, 2))
    return true, {
        (f"m{i:03}", s): true[i] + shifts[s] + rng.normal(0, noise, 2)
        for i in range(mixtures)
        for s in range(seeds if i < replicated else 1)
    }


def test_noise_shift_and_signal_are_found() -> None:
    true, losses = measured(400, 60, 4, 0.02, 0.3)
    floor = noise_floor(losses)
    assert floor is not None
    assert (floor.mixtures, floor.seeds, floor.degrees_of_freedom) == (60, 4, 59 * 3)
    assert floor.noise == pytest.approx([0.02, 0.02], rel=0.15)
    assert (floor.low < 0.02).all()
    assert (floor.high > 0.02).all()
    assert floor.signal == pytest.approx(true.std(axis=0), rel=0.25)
    assert floor.signal_to_noise[0] > 15
    assert floor.signal_to_noise[1] < 1
    assert floor.reliability[0] > 0.99
    assert floor.reliability[1] < 0.5


def test_the_interval_holds_the_noise_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        floor = noise_floor(measured(20, 6, 2, 0.05, 0.2, seed)[1])
        assert floor is not None
        held += int(((floor.low <= 0.05) & (floor.high >= 0.05)).sum())
    assert 0.85 < held / 400 < 0.95


def test_means_do_not_carry_the_further_seeds_shift() -> None:
    true, losses = measured(30, 8, 3, 0.001, 1.0)
    means, counts = mixture_means(losses)
    assert [counts[f"m{i:03}"] for i in (0, 7, 8, 29)] == [3, 3, 1, 1]
    shift = np.mean([means[f"m{i:03}"] - true[i] for i in range(30)], axis=0)
    for i in range(30):
        assert means[f"m{i:03}"] - true[i] == pytest.approx(shift, abs=0.005)


@pytest.mark.parametrize(("replicated", "seeds"), [(0, 1), (1, 3)])
def test_without_replicates_nothing_is_claimed(replicated: int, seeds: int) -> None:
    assert noise_floor(measured(10, replicated, seeds, 0.02, 0.1)[1]) is None


def test_the_largest_complete_table_is_used() -> None:
    _, losses = measured(12, 12, 2, 0.02, 0.1)
    losses[("m000", 7)] = losses["m000", 0]
    floor = noise_floor(losses)
    assert floor is not None
    assert (floor.mixtures, floor.seeds) == (12, 2)
