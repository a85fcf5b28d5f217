import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits, availability_caps, within_limits


def limits_of(caps, floors=None):
    names = tuple(f"d{i}" for i in range(len(caps)))
    return Limits(names, np.array(caps), np.array(floors if floors is not None else [0.0] * len(caps)))


@st.composite
def feasible(draw):
    size = draw(st.integers(2, 8))
    floors = np.array(draw(st.lists(st.floats(0, 0.9 / size), min_size=size, max_size=size)))
    room = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size)))
    caps = np.minimum(floors + room, 1.0)
    if caps.sum() < 1.001:
        caps = np.minimum(caps + (1.001 - caps.sum()) / size + 0.01, 1.0)
    base = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size))) + 1e-3
    return limits_of(caps, floors), base / base.sum()


@given(feasible())
def test_nearest_mixture_keeps_the_limits_and_sums_to_one(case):
    limits, base = case
    nearest = within_limits(base, limits)
    assert abs(nearest.sum() - 1) < 1e-9
    assert limits.allow(nearest, tolerance=1e-6)


@given(feasible())
def test_a_mixture_within_the_limits_is_left_alone(case):
    limits, base = case
    inside = within_limits(base, limits)
    assert np.allclose(within_limits(inside, limits), inside, atol=1e-6)


def test_domains_off_their_bounds_keep_their_proportions():
    nearest = within_limits(np.array([0.8, 0.15, 0.05]), limits_of([0.5, 1.0, 1.0]))
    assert nearest[0] == pytest.approx(0.5)
    assert nearest[1] / nearest[2] == pytest.approx(3.0)


def test_caps_follow_the_tokens_available():
    caps = availability_caps([100, 1_000, 10_000], 4_000, 4.0, [None, 0.3, None])
    assert caps.tolist() == [0.1, 0.3, 1.0]
    assert availability_caps([100], None, 4.0, [None]).tolist() == [1.0]


def test_caps_that_leave_no_mixture_are_named():
    with pytest.raises(MixtureError, match=r"caps sum to 0\.7") as caught:
        limits_of([0.3, 0.4]).check()
    assert "max_epochs" in caught.value.remedy
    with pytest.raises(MixtureError, match=r"domains\.d0.*floor"):
        limits_of([0.3, 1.0], [0.4, 0.0]).check()
    with pytest.raises(MixtureError, match="floors sum"):
        limits_of([1.0, 1.0], [0.6, 0.6]).check()


@pytest.mark.parametrize("caps", [[0.7, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.6, 0.3, 0.1]])
def test_caps_that_sum_to_one_but_for_rounding_leave_one_mixture(caps):
    nearest = within_limits(np.full(len(caps), 1 / len(caps)), limits_of(caps))
    assert nearest == pytest.approx(caps)
