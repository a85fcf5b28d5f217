"""Two phases chosen at once on a made-up objective whose best mixtures are known: late code counts more than early."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.mixtures.stage import of_phases
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.search.acquisition import Acquisition, quantised
from regmix_pipeline.search.best import asked, search
from regmix_pipeline.search.descent import descend
from regmix_pipeline.search.region import Region, project_to_limits
from regmix_pipeline.search.shadow_prices import shadow_prices
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.regression import RegressionSettings
from regmix_pipeline.study.settings.search import SearchSettings

PARTS = {"pretraining": 800_000, "annealing": 200_000}
DOMAINS = ("web", "books", "code")
PRIOR = np.array([0.7, 0.2, 0.1])
CAPS = np.array([1.0, 0.5, 0.15])
"""Of all tokens: code is scarce, and what pre-training draws of it annealing lacks."""
LATE = np.array([1.0, 1.0, 3.0])
"""What a token of annealing counts for, beside one of pre-training."""
HELPS = np.array([1.0, 0.9, 1.6])
NOISE = 0.002
ONE = {"t": 1.0}


def loss(weights: np.ndarray) -> np.ndarray:
    """Of mixtures of both phases, (m, 6) -> (m,)."""
    early, late = weights[:, :3], weights[:, 3:]
    return 2 + 1.5 * ((early + LATE * late + 0.01) ** 0.6 @ HELPS) ** -0.5


@pytest.fixture(scope="module")
def world():
    """Prior and limits of both phases, and the regressors fitted to 60 measured mixtures."""
    prior, limits = of_phases(PRIOR, Limits(DOMAINS, CAPS, np.zeros(3)), PARTS)
    mixtures = sample(prior, limits, MixtureSettings(count=60, oversample=20), seed=1)
    weights = np.array([mixture.vector(limits.domains) for mixture in mixtures])
    losses = loss(weights) + np.random.default_rng(0).normal(0, NOISE, len(weights))
    settings = RegressionSettings(
        regressors=("linear", "saturation", "gaussian_process"), bootstrap=50, extrapolation="off"
    )
    fitted = fit(weights, losses[:, None], None, list(limits.domains), ["t"], settings, say=lambda line: None)
    return prior, limits, fitted


def best_of(region: Region) -> np.ndarray:
    """The best mixture by the objective itself."""
    starts = project_to_limits(np.random.default_rng(2).dirichlet(np.ones(len(region.prior)), 6), region.limits)
    ends = project_to_limits(np.array([descend(loss, region, each, 200) for each in starts]), region.limits)
    return ends[int(loss(ends).argmin())]


def one_after_the_other() -> np.ndarray:
    """Both phases as two studies would choose them, each knowing the objective itself: pre-training for what it is
    worth when it ends, then annealing with the epochs that are left."""

    def of_first(weights: np.ndarray) -> np.ndarray:
        return loss(np.hstack([weights * 0.8, np.zeros_like(weights)]))

    first = Limits(DOMAINS, np.minimum(CAPS / 0.8, 1), np.zeros(3))
    region = Region.of(first, PRIOR, np.eye(3), SearchSettings())
    chosen = project_to_limits(descend(of_first, region, np.array([0.5, 0.4, 0.1]), 200)[None], first)[0]
    left = Limits(DOMAINS, np.clip((CAPS - 0.8 * chosen) / 0.2, 0, 1), np.zeros(3))

    def of_last(weights: np.ndarray) -> np.ndarray:
        return loss(np.hstack([np.tile(0.8 * chosen, (len(weights), 1)), weights * 0.2]))

    region = Region.of(left, PRIOR, np.eye(3), SearchSettings())
    last = project_to_limits(descend(of_last, region, project_to_limits(PRIOR[None], left)[0], 200)[None], left)[0]
    return np.concatenate([0.8 * chosen, 0.2 * last])


@pytest.mark.parametrize("method", ["optimiser", "simulation"])
def test_the_best_of_both_is_found_and_is_better_than_one_after_the_other(world, method):
    prior, limits, fitted = world
    settings = SearchSettings(method=method, candidates=5_000, screen=1_000, top_k=32)
    found = search(fitted, prior, limits, ONE, settings, seed=3, say=lambda line: None)
    at = found.mixture.vector(limits.domains)
    assert found.mixture.has_phases(PARTS)
    assert limits.allow(at[None])[0]
    best = best_of(Region.of(limits, prior, fitted.weights, SearchSettings()))
    natural, apart = (float(loss(each[None])[0]) for each in (prior, one_after_the_other()))
    lost = float((loss(at[None]) - loss(best[None]))[0])
    # Of all that can be gained over the natural mixture less than a thirtieth is lost. One after the other, the first
    # phase takes all of the code, and most of the gain is lost.
    assert 0 <= lost < 0.03 * (natural - float(loss(best[None])[0]))
    assert float(loss(at[None])[0]) < apart - 0.1
    assert at[5] > 0.11
    assert at[2] < 0.04


def test_the_cap_of_code_in_both_phases_has_one_price(world):
    prior, limits, fitted = world
    settings = SearchSettings()
    found = search(fitted, prior, limits, ONE, settings, seed=3, say=lambda line: None)
    rows = {row["domain"]: row for row in found.domains}
    assert [name for name, row in rows.items() if row["at_cap"]] == ["pretraining/code", "annealing/code"]
    assert found.active[0] == "cap of code"
    at = found.mixture.vector(limits.domains)
    (row,) = shadow_prices(*asked(fitted, prior, limits, ONE, settings), at, {"code": 20.0}, before={"code": 0.5})
    assert (row["limit"], row["domain"], row["cap"]) == ("cap of code", "code", 0.15)
    assert row["epochs"] == pytest.approx(0.5 + 0.15 * 20)
    assert row["price_per_point"] > 0
    assert row["further"]["cap"] == pytest.approx(0.225)
    # A point more of one phase's weight is at the expense of the others of that phase.
    moved = {name: row["sensitivity"] for name, row in rows.items()}
    assert moved["annealing/code"] < moved["pretraining/code"]


def test_further_mixtures_are_inside_all_limits_and_can_be_trained(world):
    prior, limits, fitted = world
    region = Region.of(limits, prior, fitted.weights, SearchSettings())
    picks = Acquisition(fitted, region, ONE, best_of(region), seed=4).batch(4, quantum=200)
    assert len(picks) == 4
    for pick in picks:
        assert pick.mixture.has_phases(PARTS)
        assert limits.allow(pick.mixture.vector(limits.domains)[None])[0]
    assert quantised(prior, region, 200).has_phases(PARTS)
