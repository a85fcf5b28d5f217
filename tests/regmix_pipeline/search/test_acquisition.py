"""Rounds: batches where a measurement is worth most, inside the limits, apart from each other."""

import numpy as np
import pytest

from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.search.acquisition import RULES, Acquisition
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region, natural_inside, rounded_inside
from regmix_pipeline.search.worst_belief import worst_of
from regmix_pipeline.strategies.arena import Choice
from regmix_pipeline.strategies.methods.experiments import affordable
from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised
from regmix_pipeline.strategies.methods.ours import trained_in_rounds
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings, RoundSettings
from regmix_pipeline.study.settings.search import SearchSettings


@pytest.fixture(scope="module")
def world():
    return SyntheticWorld("easy", 3)


@pytest.fixture(scope="module")
def process(world):
    arena = world.fresh()
    runs = trained_in_rounds(arena, arena.proxy, MixtureSettings(count=24, rounds=RoundSettings(number=1)), 0)
    weights = np.array([run.mixture.vector(arena.domains) for run in runs])
    losses = np.array([[run.losses[target] for target in arena.targets] for run in runs])
    return fitted_one(arena, "gaussian_process", GaussianProcessLaw(), weights, losses, arena.targets)


def batch(world, process, count=8, **besides):
    objective = dict(world.objective)
    region = Region.of(world.limits, world.prior, process.weights, SearchSettings())
    best = optimised(world, process, objective, 0)
    return Acquisition(process, region, objective, best, 5).batch(count, 200, **besides)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_inside_the_limits_new_and_the_same_each_time(world, process, rule):
    picks, again = (batch(world, process, rule=rule) for _ in range(2))
    assert [pick.mixture.id for pick in picks] == [pick.mixture.id for pick in again]
    points = np.array([pick.mixture.vector(world.domains) for pick in picks])
    assert len(picks) == len({pick.mixture.id for pick in picks}) == 8
    assert world.limits.allow(points, 1e-9).all()
    seen = process.weights
    for point in points:
        assert np.abs(seen - point).max(axis=1).min() > 1e-3
        seen = np.vstack([seen, point])
    assert all(pick.deviation >= 0 for pick in picks)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_lies_where_losses_are_low(world, process, rule):
    measured = world.true_objective(process.weights, world.proxy)
    points = np.array([pick.mixture.vector(world.domains) for pick in batch(world, process, rule=rule)])
    assert np.median(world.true_objective(points, world.proxy)) < np.median(measured)


def test_a_region_without_another_mixture_gives_what_there_is(world, process):
    region = Region.of(world.limits, world.prior, process.weights, SearchSettings(max_divergence=1e-9))
    asked = Acquisition(process, region, dict(world.objective), world.prior, 0)
    assert len(asked.batch(8)) <= 1


def test_the_rule_is_that_of_a_study_file_by_default(world, process):
    picks, default = batch(world, process, rule=RoundSettings().rule), batch(world, process)
    assert [pick.mixture.id for pick in picks] == [pick.mixture.id for pick in default]


def test_the_joint_belief_agrees_with_the_deviations_of_single_mixtures(process, world):
    points = np.random.default_rng(0).dirichlet(np.ones(len(world.domains)), 20)
    share = np.zeros(len(process.targets))
    share[1] = 1.0
    belief = process.process.joint_posterior(points, share)
    alone = process.process.standard_deviation(points, np.array([1]), of_measurement=False)[:, 0]
    assert np.sqrt(np.diag(belief.covariance)) == pytest.approx(alone, rel=1e-6)
    assert belief.mean == pytest.approx(process.predict(points)[:, 1])
    assert np.linalg.eigvalsh(belief.covariance).min() > -1e-9


@pytest.mark.slow
def test_rounds_lose_less_than_one_shot_with_the_same_proxies():
    lost = {1: 0.0, 4: 0.0}
    for seed in range(3):
        world = SyntheticWorld("interactions", seed)
        for number in lost:
            arena = world.fresh()
            count = affordable(arena, "rounds", 40 * arena.proxy.flops)
            runs = trained_in_rounds(
                arena, arena.proxy, MixtureSettings(count=count, rounds=RoundSettings(number=number)), seed
            )
            assert len(runs) == 40
            weights = np.array([run.mixture.vector(arena.domains) for run in runs])
            targets = list(arena.objective)
            losses = np.array([[run.losses[target] for target in targets] for run in runs])
            fitted = fitted_one(arena, "gaussian_process", GaussianProcessLaw(), weights, losses, targets)
            found = optimised(arena, fitted, dict(arena.objective), seed)

            lost[number] += world.regret(Choice.of(rounded_inside(found, arena.limits)))[1]
    assert lost[4] < 0.7 * lost[1]


@pytest.mark.parametrize(
    ("count", "rounds", "sizes"),
    [
        (64, {}, (22, 14, 14, 14)),
        (512, {}, (179, 111, 111, 111)),
        (512, {"number": 1}, (512,)),
        (15, {}, (15,)),
        (16, {}, (10, 2, 2, 2)),
        (18, {}, (10, 3, 3, 2)),
        (0, {}, (0,)),
        (100, {"number": 3, "first": 1.0}, (100,)),
    ],
)
def test_a_count_is_spread_over_rounds(count, rounds, sizes):
    assert MixtureSettings(count=count, rounds=RoundSettings(**rounds)).round_sizes == sizes
    assert sum(sizes) == count


def test_a_batch_for_the_worst_case_lies_where_the_worst_target_is_low(world, process):
    share = {target: 1 / len(world.targets) for target in world.targets}
    settings = SearchSettings(objective="worst_case")
    region = Region.of(world.limits, world.prior, process.weights, settings)
    natural = natural_inside(world.prior, world.limits).vector(world.domains)
    objective = Objective.of(process, share, natural, settings)
    chosen = process.weights[objective(process.weights).argmin()]

    def points(against):
        asked = Acquisition(process, region, share, chosen, 5, None, against)
        return np.array([pick.mixture.vector(world.domains) for pick in asked.batch(8, 200)]), asked

    def worst(mixtures):
        return worst_of(
            world.true_losses(mixtures, world.proxy),
            world.true_losses(natural[None], world.proxy)[0],
            np.ones(len(share)),
        )

    picked, asked = points(natural)
    assert np.median(worst(picked)) < np.median(worst(points(None)[0]))
    assert np.median(worst(picked)) < np.median(worst(process.weights))
    # Nothing is worse than the natural mixture compared with itself.
    regret = asked.regret(natural)
    assert regret.gain > 0
    assert regret.expected >= 0
