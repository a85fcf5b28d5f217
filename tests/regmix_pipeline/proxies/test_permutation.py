"""Keyed permutations are bijections, differ by key and stream, and depend on nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.proxies.permutation import key_of, permuted

keys = st.integers(0, 2**64 - 1)


@given(st.integers(1, 3000), keys, st.integers(0, 10**6))
def test_a_bijection_for_every_size(size: int, key: int, stream: int) -> None:
    assert sorted(permuted(np.arange(size), size, key, stream).tolist()) == list(range(size))


@given(st.integers(1, 500), keys, st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 50)), min_size=1))
def test_elements_are_independent_of_each_other(size: int, key: int, asked: list[tuple[int, int]]) -> None:
    positions = np.array([position % size for position, _ in asked])
    streams = np.array([stream for _, stream in asked])
    together = permuted(positions, size, key, streams)
    alone = [int(permuted(positions[[i]], size, key, int(streams[i]))[0]) for i in range(len(asked))]
    assert together.tolist() == alone


def test_huge_sizes_stay_inside() -> None:
    size = 10**12 + 39
    values = permuted(np.arange(10_000), size, 5)
    assert values.min() >= 0
    assert values.max() < size
    assert len(set(values.tolist())) == 10_000
    assert abs(values.mean() / size - 0.5) < 0.02


def test_where_an_element_goes_is_uniform() -> None:
    size, trials = 7, 7000
    first = permuted(np.zeros(trials, dtype=np.int64), size, key_of("uniform"), np.arange(trials))
    counts = np.bincount(first, minlength=size)
    # Chi-squared with 6 degrees of freedom: above 22.5 once in a thousand keys.
    assert ((counts - trials / size) ** 2 / (trials / size)).sum() < 22.5


def test_streams_and_keys_give_other_orders() -> None:
    positions = np.arange(1000)
    orders = {tuple(permuted(positions, 1000, key, stream).tolist()) for key in range(3) for stream in range(3)}
    assert len(orders) == 9
