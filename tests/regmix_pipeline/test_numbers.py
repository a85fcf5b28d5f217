"""Numbers are written with the digits that mean something."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.decimals(4.12345), "4.123"),
        (numbers.decimals(-0.5, 2), "−0.50"),
        (numbers.signed(0.0651), "+0.065"),
        (numbers.percent(0.2966), "29.7%"),
        (numbers.percent(0.0), "0.0%"),
        (numbers.percent(0.0002), "< 0.1%"),
        (numbers.chance(0.99999), "> 99.9%"),
        (numbers.chance(0.973), "97%"),
        (numbers.chance(None), "not recorded"),
        (numbers.amount(20_000_000), "20.0 M"),
        (numbers.amount(8192), "8,192"),
        (numbers.amount(131_072), "131 k"),
        (numbers.interval(0.9, 0.98, 2), "0.90–0.98"),
        (numbers.interval(-0.1, 0.2, 1), "−0.1 to 0.2"),
        (numbers.times(0.001), "< 0.01×"),
        (numbers.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert written == expected


@given(st.sampled_from([None, math.nan, math.inf, -math.inf, "5", True]))
def test_what_is_no_number_is_a_dash(value: object) -> None:
    for write in (numbers.decimals, numbers.signed, numbers.percent, numbers.integer, numbers.amount, numbers.times):
        assert write(value) == "–"


@given(st.floats(1e-12, 1))
def test_a_weight_above_zero_is_never_shown_as_zero(weight: float) -> None:
    assert numbers.percent(weight) != "0.0%"
    assert numbers.times(weight) != "0.00×"
