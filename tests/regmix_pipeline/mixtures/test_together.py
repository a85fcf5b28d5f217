"""Phases chosen at once: sums of phases and of domains are kept exactly, by all that makes a mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.anchors import anchor_mixtures
from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.sampler import EQUAL_SHARE, same_in_phases, sample
from regmix_pipeline.mixtures.stage import of_phases
from regmix_pipeline.mixtures.together import range_of
from regmix_pipeline.search.candidates import candidates_inside
from regmix_pipeline.search.region import Region, project_to_limits, rounded_inside
from regmix_pipeline.study.phases import parts_of_phases
from regmix_pipeline.study.settings.mixtures import Anchors, MixtureSettings
from regmix_pipeline.study.settings.search import GroupLimit, SearchSettings

PHASES = {"pretraining": 692_308, "annealing": 307_692}


def limits_on(caps, floors, parts=PHASES):
    names = tuple(f"d{number}" for number in range(len(caps)))
    return Limits(names, np.array(caps), np.array(floors)).of_phases(parts)


def kept(parts: np.ndarray, limits: Limits) -> bool:
    """Whether whole parts per million, (m, d), keep every limit to the last one."""
    together = limits.together
    table = together.table(np.atleast_2d(parts))
    sums, caps, floors = table.sum(axis=1), np.rint(together.caps * PARTS), np.rint(together.floors * PARTS)
    phases = (table.sum(axis=2) == list(together.parts.values())).all()
    return bool(phases and (sums <= caps).all() and (sums >= floors).all() and (table >= 0).all())


@st.composite
def tight_limits(draw):
    """Limits on two or three phases that leave a mixture, perhaps a single one: those around a mixture that was drawn
    first, with none or some room."""
    count = draw(st.integers(2, 5))
    tokens = draw(st.lists(st.integers(10, 1_000), min_size=2, max_size=3))
    weights = np.array(draw(st.lists(st.integers(1, 1_000), min_size=count, max_size=count)), dtype=float)
    weights /= weights.sum()
    above, below = (
        np.array(draw(st.lists(st.sampled_from([0.0, 1e-6, 0.02, 1.0]), min_size=count, max_size=count)))
        for _ in range(2)
    )
    caps = np.minimum(np.ceil(weights * PARTS) / PARTS + above, 1.0)
    return limits_on(
        caps,
        np.maximum(np.floor(weights * PARTS) / PARTS - below, 0.0),
        parts_of_phases((f"p{number}", each) for number, each in enumerate(tokens)),
    )


@settings(max_examples=40)
@given(tight_limits(), st.integers(0, 2**32 - 1))
def test_sums_of_phases_and_domains_are_never_broken(limits, seed):
    generator = np.random.default_rng(seed)
    d = len(limits.domains)
    drawn = generator.standard_gamma(np.full((6, d), 0.3))
    drawn[0], drawn[1] = 0.0, np.eye(d)[seed % d]
    inside = project_to_limits(drawn, limits)
    assert limits.allow(inside).all()
    mixtures = [dict(rounded_inside(row, limits).parts) for row in inside[::3]]
    assert kept(np.array([[parts.get(name, 0) for name in limits.domains] for parts in mixtures]), limits)
    # What is inside already stays where it is.
    assert np.abs(project_to_limits(inside, limits) - inside).max() < 1e-6


@pytest.mark.parametrize("parts", [PHASES, {"pretraining": 990_000, "annealing": 10_000}])
def test_the_nearest_mixture_is_the_one_that_a_solver_finds(parts):
    import cvxpy as cp

    limits = limits_on([0.3, 0.25, 1.0, 0.6], [0.0, 0.0, 0.05, 0.2], parts)
    generator = np.random.default_rng(3)
    for base in generator.dirichlet(np.full(8, 0.7), size=4):
        w, (phases, domains), together = cp.Variable(8), limits.together.matrices(), limits.together
        rules = [phases @ w == together.shares, domains @ w <= together.caps, domains @ w >= together.floors, w >= 0]
        cp.Problem(cp.Minimize(cp.sum(cp.kl_div(w, base))), rules).solve(solver=cp.CLARABEL)
        assert np.abs(project_to_limits(base[None], limits)[0] - w.value).max() < 1e-4


def test_the_sampler_draws_phases_apart_and_some_alike_within_all_limits():
    prior, limits = of_phases(
        np.array([0.6, 0.3, 0.1]), Limits(("web", "code", "books"), np.array([1.0, 0.4, 0.15]), np.zeros(3)), PHASES
    )
    asked = MixtureSettings(count=30, oversample=10)
    found = sample(prior, limits, asked, seed=5)
    assert len({mixture.id for mixture in found}) == 30
    assert kept(np.array([[dict(each.parts).get(name, 0) for name in limits.domains] for each in found]), limits)
    assert all(mixture.has_phases(PHASES) for mixture in found)
    alike = [same_in_phases(mixture, limits) for mixture in found]
    assert sum(alike) == round(EQUAL_SHARE * 30)
    # Phases differ independently: their shares of a domain are not those of one draw.
    shares = np.array([limits.together.table(each.vector(limits.domains))[:, 1] for each in found])[~np.array(alike)]
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.5
    assert sample(prior, limits, asked.model_copy(update={"count": 34}), seed=5, existing=found)[:30] == found


def test_a_natural_mixture_is_the_same_in_all_phases_and_one_domain_fills_them():
    prior, limits = of_phases(np.array([0.7, 0.3]), Limits(("web", "code"), np.ones(2), np.zeros(2)), PHASES)
    found = anchor_mixtures(prior, limits, Anchors(natural=True, single_domain=True))
    assert found["natural"] == Mixture.in_all_phases({"web": 0.7, "code": 0.3}, PHASES)
    assert found["only_code"].parts == (("annealing/code", 307_692), ("pretraining/code", 692_308))
    tight = limits_on([0.5, 1.0], [0.0, 0.0])
    moved = within_limits(np.concatenate([0.692308 * np.array([0.7, 0.3]), 0.307692 * np.array([0.7, 0.3])]), tight)
    assert limits.together.table(moved).sum(axis=0) == pytest.approx([0.5, 0.5])
    # Of one domain as much less in one phase as in the other.
    assert moved[0] / moved[2] == pytest.approx(0.692308 / 0.307692)


def test_a_region_and_its_candidates_keep_groups_over_all_phases():
    limits = limits_on([0.5, 0.6, 0.7], [0.0, 0.0, 0.1])
    prior = np.concatenate([0.692308 * np.ones(3) / 3, 0.307692 * np.ones(3) / 3])
    groups = (GroupLimit(domains=("d0", "d1"), cap=0.6), GroupLimit(domains=("annealing/d2",), cap=0.05))
    region = Region.of(limits, prior, np.eye(6), SearchSettings(groups=groups))
    found = candidates_inside(region, prior[None], 200, np.random.default_rng(0))
    assert len(found) > 20
    table = limits.together.table(found)
    assert (table[:, :, :2].sum(axis=(1, 2)) <= 0.6 + 1e-4).all()
    assert (table[:, 1, 2] <= 0.05 + 1e-4).all()


def test_how_far_one_weight_may_go_follows_from_all_limits():
    limits = limits_on([0.2, 0.9, 0.4], [0.0, 0.0, 0.0])
    low, high = range_of(1, limits.caps, limits.floors, limits.together)
    # The phase needs what the others cannot give; together they may give 0.6 of all.
    assert (low, high) == (pytest.approx(0.092308), pytest.approx(0.692308))


def test_limits_that_leave_no_mixture_are_named():
    with pytest.raises(MixtureError, match=r"the caps sum to 0\.9, below 1"):
        limits_on([0.4, 0.5], [0.0, 0.0]).check()
    with pytest.raises(MixtureError, match="d1"):
        limits_on([1.0, 0.1], [0.0, 0.2]).check()
