"""The quota schedule keeps every domain within one window of its weight, at every moment."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.proxies.quota import draw_numbers, multinomial_schedule, quota_schedule

weights = st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any)


def mixture_of(values: list[int]) -> Mixture:
    return Mixture.from_weights({f"d{number:02}": value for number, value in enumerate(values)})


@given(weights, st.integers(1, 400))
def test_every_prefix_is_within_tijdemans_bound(values: list[int], windows: int) -> None:
    mixture = mixture_of(values)
    schedule = quota_schedule(mixture, windows)
    parts = np.array([part for _, part in mixture.parts])
    counts = np.cumsum(schedule[:, None] == np.arange(len(parts)), axis=0)
    deviation = np.abs(counts * PARTS - np.arange(1, windows + 1)[:, None] * parts)
    q = 2 * len(parts) - 2
    assert (deviation * q <= PARTS * (q - 1)).all() if q else (deviation == 0).all()


def test_extreme_weights_and_a_weight_of_zero() -> None:
    mixture = Mixture.of({"common": PARTS - 1, "never": 0, "rare": 1})
    schedule = quota_schedule(mixture, 2 * PARTS)
    assert [domain for domain, _ in mixture.parts] == ["common", "rare"]
    assert np.bincount(schedule).tolist() == [2 * PARTS - 2, 2]


def test_the_papers_size_takes_seconds() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    mixture = mixture_of((rng.dirichlet(np.full(17, 0.5)) * 1e6).astype(int).tolist())
    started = time.perf_counter()
    schedule = quota_schedule(mixture, 512_000)
    assert time.perf_counter() - started < 10
    assert len(schedule) == 512_000


def test_an_empty_mixture_is_refused() -> None:
    with pytest.raises(MixtureError):
        quota_schedule(Mixture(()), 3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_draw_numbers_count_each_domain_from_zero(domains: list[int]) -> None:
    numbers, counts = draw_numbers(np.array(domains, dtype=np.int32), 5)
    assert numbers.tolist() == [domains[:place].count(domain) for place, domain in enumerate(domains)]
    assert counts.tolist() == [domains.count(domain) for domain in range(5)]


def test_dice_are_the_same_throws_for_every_mixture_and_only_right_on_average() -> None:
    first, second = (mixture_of(values) for values in ([30, 50, 20], [30, 20, 50]))
    schedules = [multinomial_schedule(mixture, 4000, 1) for mixture in (first, second)]
    assert ((schedules[0] == 0) == (schedules[1] == 0)).all()
    assert (multinomial_schedule(first, 4000, 2) != schedules[0]).any()
    gaps = np.bincount(schedules[0]) - 4000 * np.array([0.3, 0.5, 0.2])
    assert 1 < np.abs(gaps).max() < 5 * 32
