"""The capped simplex: projecting into it, rounding inside it, and what makes it empty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.search.region import Region, divergence, feasible, project_to_limits, rounded_inside
from regmix_pipeline.study.settings.search import GroupLimit, SearchSettings

NAMES = tuple("abcdefgh")


@st.composite
def limits_and_weights(draw: st.DrawFn) -> tuple[Limits, np.ndarray]:
    d = draw(st.integers(2, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    floors = generator.uniform(0, 0.8 / d, d) * (generator.random(d) < 0.5)
    caps = np.minimum(floors + generator.uniform(0.02, 1.0, d), 1.0)
    assume(caps.sum() > 1.001)
    gammas = generator.standard_gamma(draw(st.sampled_from([0.02, 0.3, 3.0])), size=(6, d)) + 1e-300
    return Limits(NAMES[:d], caps, floors), gammas / gammas.sum(axis=1, keepdims=True)


@given(limits_and_weights())
@settings(max_examples=60, deadline=None)
def test_moves_into_the_limits_and_leaves_alone_what_is_inside(case: tuple[Limits, np.ndarray]) -> None:
    limits, weights = case
    moved = project_to_limits(weights, limits)
    assert limits.allow(moved).all()
    np.testing.assert_allclose(moved.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(project_to_limits(moved, limits), moved, atol=1e-8)


@given(limits_and_weights())
@settings(max_examples=30, deadline=None)
def test_moves_as_the_anchors_are_moved(case: tuple[Limits, np.ndarray]) -> None:
    limits, weights = case
    dense = 0.5 * weights + 0.5 / weights.shape[1]
    np.testing.assert_allclose(project_to_limits(dense, limits)[0], within_limits(dense[0], limits), atol=1e-6)


@given(limits_and_weights())
@settings(max_examples=60, deadline=None)
def test_rounds_to_whole_parts_inside_the_limits(case: tuple[Limits, np.ndarray]) -> None:
    limits, weights = case
    for row in project_to_limits(weights, limits):
        mixture = rounded_inside(row, limits)
        vector = mixture.vector(limits.domains)
        assert sum(part for _, part in mixture.parts) == PARTS
        assert limits.allow(vector[None], 1e-9)[0]
        np.testing.assert_allclose(vector, row, atol=9e-6)


def test_infeasible_caps_are_named() -> None:
    limits = Limits(("books", "code"), np.array([0.3, 0.4]), np.zeros(2))
    with pytest.raises(MixtureError, match=r"books 0\.3, code 0\.4"):
        feasible(limits)
    feasible(Limits(("books", "code"), np.array([0.3, 0.7]), np.zeros(2)))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (GroupLimit(domains=("a", "b"), cap=0.1), "can only weigh 0.2"),
        (GroupLimit(domains=("a",), floor=0.9), "can only weigh"),
        (GroupLimit(domains=("poems",)), "unknown domains"),
    ],
)
def test_impossible_groups_are_named(group: GroupLimit, message: str) -> None:
    limits = Limits(("a", "b", "c"), np.array([0.5, 0.8, 0.8]), np.array([0.1, 0.0, 0.0]))
    with pytest.raises(MixtureError, match=message):
        Region.of(limits, np.full(3, 1 / 3), np.full((1, 3), 1 / 3), SearchSettings(groups=(group,)))


def test_region_allows_what_every_limit_allows() -> None:
    limits = Limits(("a", "b", "c"), np.ones(3), np.zeros(3))
    prior = np.array([0.5, 0.3, 0.2])
    settings = SearchSettings(groups=(GroupLimit(domains=("b", "c"), cap=0.6),), max_divergence=0.1, trust_radius=0.2)
    region = Region.of(limits, prior, prior[None], settings)
    rows = np.array([[0.5, 0.3, 0.2], [0.35, 0.4, 0.25], [0.9, 0.05, 0.05], [0.45, 0.5, 0.05]])
    assert region.allow(rows).tolist() == [True, False, False, False]
    assert divergence(rows, prior)[0] == pytest.approx(0.0)
    assert divergence(np.array([[0.5, 0.5, 0.0]]), prior)[0] == pytest.approx(0.5 * np.log(0.5 / 0.3))
    assert region.distance(rows)[0] == pytest.approx(0.0, abs=1e-7)
