import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS, Mixture, largest_remainder

weights = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=12
).filter(lambda given: sum(given.values()) > 1e-3)


@given(weights)
def test_weights_become_whole_parts_that_sum_to_one(given_weights):
    mixture = Mixture.from_weights(given_weights)
    assert sum(part for _, part in mixture.parts) == PARTS
    assert all(part > 0 for _, part in mixture.parts)
    total = sum(given_weights.values())
    for domain, weight in mixture.weights.items():
        assert abs(weight - given_weights[domain] / total) <= 1 / PARTS


@given(weights)
def test_id_is_the_content_and_ignores_order_and_absent_domains(given_weights):
    reversed_weights = dict(reversed(list(given_weights.items()))) | {"zzz": 0.0}
    assert Mixture.from_weights(given_weights).id == Mixture.from_weights(reversed_weights).id


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda v: sum(v) > 1e-6), st.integers(1, 10_000))
def test_largest_remainder_is_within_one_of_exact_and_keeps_zeros(values, total):
    shares = np.array(values) / np.sum(values)
    whole = largest_remainder(shares, total)
    assert whole.sum() == total
    assert (np.abs(whole - shares * total) <= 1 + 1e-6).all()
    assert (whole[shares == 0] == 0).all()


def test_ids_differ_when_a_weight_differs():
    assert Mixture.of({"a": 500_000, "b": 500_000}).id != Mixture.of({"a": 500_001, "b": 499_999}).id


@pytest.mark.parametrize("bad", [{"a": -1.0, "b": 2.0}, {"a": float("nan")}, {"a": 0.0}, {"a": float("inf")}])
def test_weights_off_the_simplex_are_refused(bad):
    with pytest.raises(MixtureError):
        Mixture.from_weights(bad)


def test_parts_must_sum_to_a_million():
    with pytest.raises(MixtureError, match="sum to 999999"):
        Mixture.of({"a": 999_999})


def test_vector_refuses_domains_it_does_not_know():
    mixture = Mixture.of({"a": PARTS})
    assert mixture.vector(["b", "a"]).tolist() == [0.0, 1.0]
    with pytest.raises(MixtureError, match="unknown domains"):
        mixture.vector(["b"])
