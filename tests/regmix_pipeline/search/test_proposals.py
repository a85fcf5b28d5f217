"""Proposals: where laws that the evidence allows disagree, and nowhere else."""

import numpy as np
import pytest

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.search.proposals import APART, propose
from regmix_pipeline.search.region import Region
from regmix_pipeline.study.settings.regression import RegressionSettings
from regmix_pipeline.study.settings.search import SearchSettings

DOMAINS = ["a", "b", "c"]
PRIOR = np.array([0.5, 0.3, 0.2])


def law(weights):
    return 2 + 1.2 * (0.2 * weights[:, 0] ** 0.5 + weights[:, 1] ** 0.5 + 0.6 * weights[:, 2] ** 0.5 + 0.05) ** -0.5


def proposals(rows, noise, caps=(1.0, 1.0, 1.0), seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = rng.dirichlet([1.5, 1, 1], rows)
    losses = (law(weights) + rng.normal(0, noise, rows))[:, None]
    settings = RegressionSettings(regressors=("linear", "saturation"), extrapolation="off", bootstrap=50)
    fitted = fit(weights, losses, None, DOMAINS, ["t"], settings, say=lambda line: None)
    limits = Limits(tuple(DOMAINS), np.array(caps), np.zeros(3))
    region = Region.of(limits, PRIOR, weights, SearchSettings())
    grid = rng.dirichlet([1, 1, 1], 4000)
    grid = grid[region.allow(grid)]
    chosen = grid[fitted.objective(grid, {"t": 1.0}).argmin()]
    return propose(fitted, region, {"t": 1.0}, chosen, PRIOR, 4, 0, 1000), region, weights, chosen


def test_with_much_clean_evidence_the_regret_is_a_small_part_of_the_gain():
    found, *_ = proposals(80, 0.0005)
    assert found.gain == pytest.approx(float(law(PRIOR[None])[0] - min(law(np.eye(3)).min(), 9)), abs=0.4)
    assert 0 <= found.share < 0.05


def test_noise_and_few_rows_make_it_larger():
    clean, noisy = proposals(60, 0.0005)[0], proposals(12, 0.03)[0]
    assert noisy.regret > 3 * clean.regret
    assert noisy.mixtures


def test_proposals_are_inside_apart_and_executable():
    found, region, weights, _ = proposals(12, 0.05, caps=(0.6, 0.5, 0.5))
    points = np.array([mixture.vector(DOMAINS) for mixture in found.mixtures])
    assert region.allow(points).all()
    seen = list(weights)
    for point in points:
        distance = np.sqrt(np.maximum(1 - np.sqrt(np.array(seen)) @ np.sqrt(point), 0))
        assert distance.min() >= APART
        seen.append(point)
    assert list(found.worth) == sorted(found.worth, reverse=True)
    assert found.regret == pytest.approx(found.regrets.mean())


def test_the_same_input_gives_the_same_proposals():
    first, second = (proposals(14, 0.03, seed=3)[0] for _ in range(2))
    assert [mixture.id for mixture in first.mixtures] == [mixture.id for mixture in second.mixtures]
    assert first.regret == second.regret


@pytest.mark.parametrize("narrow", [{"trust_radius": 0.01}, {"max_divergence": 1e-4}])
def test_a_narrow_region_is_searched_and_not_called_stable(narrow):
    rng = np.random.Generator(np.random.PCG64(1))
    weights = rng.dirichlet([1.5, 1, 1], 40)
    settings = RegressionSettings(regressors=("linear", "saturation"), extrapolation="off", bootstrap=50)
    fitted = fit(weights, law(weights)[:, None], None, DOMAINS, ["t"], settings, say=lambda line: None)
    limits = Limits(tuple(DOMAINS), np.ones(3), np.zeros(3))
    region = Region.of(limits, PRIOR, weights, SearchSettings(**narrow))
    chosen = PRIOR if "max_divergence" in narrow else weights[0]
    found = propose(fitted, region, {"t": 1.0}, chosen, PRIOR, 4, 0)
    assert np.isfinite(found.regret)
    assert all(region.allow(mixture.vector(DOMAINS)[None])[0] for mixture in found.mixtures)
