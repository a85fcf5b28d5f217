import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.anchors import anchor_mixtures
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.sampler import draw_block, quantise, sample, with_new_domain
from regmix_pipeline.study.settings.mixtures import Anchors, MixtureSettings

DOMAINS = ("books", "code", "law", "web")
PRIOR = np.array([0.1, 0.2, 0.05, 0.65])


def no_limits(domains=DOMAINS, caps=None):
    return Limits(domains, np.ones(len(domains)) if caps is None else np.array(caps), np.zeros(len(domains)))


def published_sampler(prior, count, rng):
    """The published procedure, step by step and one draw at a time; its rows may sum to .996-1.003."""
    tempered = prior**0.5 / (prior**0.5).sum()
    pool = []
    for _ in range(count * 100):
        draws = [rng.dirichlet(tempered * strength) for strength in np.logspace(-1, np.log10(5), 15)]
        weights = draws[rng.integers(15)]
        if (weights > np.minimum(prior * 15, 1)).any():
            continue
        weights = np.where(weights < 2e-4, 0.0, weights)
        weights = weights / weights.sum()
        pool.append(np.round(weights / 2e-4) * 2e-4)
    distinct = np.unique(np.round(pool, 6), axis=0)
    return distinct[rng.choice(len(distinct), count, replace=False)]


def test_distribution_is_the_published_one():
    ours = sample(PRIOR, no_limits(), MixtureSettings(count=250), seed=3)
    theirs = published_sampler(PRIOR, 250, np.random.default_rng(5))
    matrix = np.array([mixture.vector(DOMAINS) for mixture in ours])
    for column in range(len(DOMAINS)):
        assert ks_2samp(matrix[:, column], theirs[:, column]).pvalue > 1e-3


@given(st.integers(0, 2**31), st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_every_row_is_exact_quantised_and_under_its_bounds(seed, count):
    caps = [0.5, 0.9, 0.4, 0.8]
    rows = sample(PRIOR, no_limits(caps=caps), MixtureSettings(count=count), seed=seed)
    assert len({row.id for row in rows}) == count
    for row in rows:
        assert sum(part for _, part in row.parts) == PARTS
        assert all(part % 200 == 0 for _, part in row.parts)
        assert (row.vector(DOMAINS) <= np.array(caps) + 1e-9).all()


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 30), st.sampled_from(["random", "space_filling"]))
@settings(max_examples=20, deadline=None)
def test_appending_keeps_what_exists(seed, count, more, choice):
    settings = MixtureSettings(count=count, choice=choice, oversample=10)
    first = sample(PRIOR, no_limits(), settings, seed=seed)
    longer = sample(PRIOR, no_limits(), settings.model_copy(update={"count": count + more}), seed, first)
    assert longer[:count] == first
    assert len({row.id for row in longer}) == count + more


def test_draws_are_a_pure_function_of_seed_and_block():
    settings = MixtureSettings()
    assert (draw_block(PRIOR, settings, 7, 2) == draw_block(PRIOR, settings, 7, 2)).all()
    assert (draw_block(PRIOR, settings, 7, 2) != draw_block(PRIOR, settings, 7, 3)).any()


def test_space_filling_spreads_more_than_random():
    def closest(rows):
        points = np.sqrt([row.vector(DOMAINS) for row in rows])
        gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
        return gaps[np.triu_indices(len(points), 1)].min()

    random = sample(PRIOR, no_limits(), MixtureSettings(count=24), seed=4)
    spread = sample(PRIOR, no_limits(), MixtureSettings(count=24, choice="space_filling"), seed=4)
    assert closest(spread) > 2 * closest(random)


def test_small_weights_are_dropped():
    parts = quantise(np.array([0.0001, 0.4999, 0.5, 0.0]), MixtureSettings())
    assert parts.tolist()[0] == 0
    assert parts.sum() == PARTS


def test_infeasible_and_too_tight_caps_are_named():
    with pytest.raises(MixtureError, match="caps sum"):
        sample(PRIOR, no_limits(caps=[0.1, 0.1, 0.1, 0.1]), MixtureSettings(count=4), seed=0)
    with pytest.raises(MixtureError, match="the caps and floors reject"):
        sample(PRIOR, no_limits(caps=[0.25, 0.25, 0.25, 0.2501]), MixtureSettings(count=50), seed=0)


def test_anchors_are_what_their_names_say():
    anchors = anchor_mixtures(PRIOR, no_limits(), Anchors(natural=True, uniform=True, single_domain=True))
    assert anchors["natural"].vector(DOMAINS) == pytest.approx(PRIOR, abs=1e-6)
    assert anchors["uniform"].vector(DOMAINS) == pytest.approx(np.full(4, 0.25), abs=1e-6)
    assert anchors["only_code"] == Mixture.of({"code": PARTS})
    assert len(anchors) == 6


@pytest.mark.parametrize("minimum", [3e-4, 1e-7, 0.3])
def test_a_minimum_that_does_not_divide_one_is_refused(minimum):
    with pytest.raises(ValueError, match="minimum"):
        MixtureSettings(minimum=minimum)


def test_more_draws_wanted_than_are_ever_made_is_no_error(monkeypatch):
    monkeypatch.setattr("regmix_pipeline.mixtures.sampler.MAX_BLOCKS", 2)
    rows = sample(PRIOR, no_limits(), MixtureSettings(count=3, oversample=10_000), seed=0)
    assert len({row.id for row in rows}) == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.integers(1, 8), st.sampled_from(["a", "c"]))
def test_a_new_domain_gets_mixtures_of_all_its_weights_inside_the_caps(seed, count, domain):
    limits = Limits(("a", "b", "c"), np.array([0.9, 0.9, 0.4]), np.zeros(3))
    prior, sampler = np.array([0.5, 0.3, 0.2]), MixtureSettings(count=20, minimum=0.001)
    existing = sample(prior, limits, sampler, seed)
    found = with_new_domain(prior, limits, sampler, seed, existing, domain, count)
    assert len({mixture.id for mixture in [*existing, *found]}) == 20 + count
    weights = np.sort([mixture.weights[domain] for mixture in found])
    assert (weights > 0).all()
    assert limits.allow(np.array([mixture.vector(limits.domains) for mixture in found])).all()
    if count > 3:
        assert weights[-1] > 4 * weights[0]
    again = with_new_domain(prior, limits, sampler, seed, existing, domain, count)
    assert [mixture.id for mixture in again] == [mixture.id for mixture in found]


def many_domains(count):
    return np.full(count, 1 / count), no_limits(tuple(f"d{number}" for number in range(count)))


@pytest.mark.parametrize(("count", "usage"), [(300, 15), (300, 3)])
def test_hundreds_of_domains_are_sampled_with_the_default_strengths(count, usage):
    prior, limits = many_domains(count)
    rows = sample(prior, limits, MixtureSettings(count=24, max_usage=usage), 0)
    weights = np.array([row.vector(limits.domains) for row in rows])
    assert len(np.unique(weights, axis=0)) == 24
    # Quantising moves a weight by less than its quantum.
    assert (weights <= usage / count + 2e-4).all()
    assert (weights.std(axis=1) > 0.3 / count).all()
    assert sample(prior, limits, MixtureSettings(count=30, max_usage=usage), 0, rows)[:24] == rows


def test_a_sampler_that_max_usage_stops_names_it(monkeypatch):
    monkeypatch.setattr("regmix_pipeline.mixtures.sampler.MAX_BLOCKS", 8)
    # Strengths that are stated are kept, and of 300 domains most draws put far more than 15 times its prior on one.
    with pytest.raises(MixtureError, match=r"mixtures\.max_usage: .* max_usage \(15\) x the prior"):
        sample(*many_domains(300), MixtureSettings(count=4, max_strength=5.0), 0)
