"""Runs of a second size: what moves with size is found, and used only where mixtures left out confirm it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.size_fit import FEWEST, fit_sizes
from regmix_pipeline.regression.sizes import SINGLE, SLOPES, ModelSize, SizeLaw, SizeRuns
from regmix_pipeline.search.survival import runner_up, survival
from regmix_pipeline.study.settings.regression import RegressionSettings

BASE, LARGER, TARGET = ModelSize(1e6, 1e8), ModelSize(4e6, 4e8), ModelSize(1e9, 2e10)
DOMAINS, TARGETS = ("web", "code", "books", "papers"), ("prose", "programs", "proofs")
NEAR = ModelSize(1.5e7, 1.5e9)
OBJECTIVE = dict.fromkeys(TARGETS, 1 / 3)
TEACH = np.array([[3.0, 0.2, 2.0, 0.5], [0.3, 3.0, 0.2, 0.5], [0.2, 1.0, 0.2, 3.0]])
"""What each domain teaches of each target: their best mixtures are far apart."""
SLOPE = np.array([-0.12, 0.10, 0.0])
"""Powers of size in the spread of the targets' losses."""


def losses(weights, size, slope=SLOPE, help_=(0.0, 0.0, 0.0, 0.0)):
    """Losses without noise, (n, 3): a law in the size and the weights."""
    s = size.over(BASE)
    help_ = (np.sqrt(weights + 0.01) * np.exp(np.array(help_) * s)) @ TEACH.T
    return 1.5 + 0.5 * np.exp(-0.1 * s) + np.exp(slope * s) * help_**-0.8


@pytest.fixture(scope="module")
def proxies():
    """Weights and losses of 40 proxies, and the regressors fitted to them."""
    generator = np.random.default_rng(3)
    weights = generator.dirichlet(np.ones(4), 40)
    measured = losses(weights, BASE) + 0.001 * generator.standard_normal((40, 3))
    settings = RegressionSettings(regressors=("saturation", "gaussian_process"), extrapolation="off", bootstrap=50)
    return fit(weights, measured, None, DOMAINS, TARGETS, settings, 0, 1, lambda line: None)


def larger(fitted, count=16, **law):
    generator = np.random.default_rng(4)
    weights = fitted.weights[:count]
    return SizeRuns(LARGER, weights, losses(weights, LARGER, **law) + 0.001 * generator.standard_normal((count, 3)))


@pytest.fixture(scope="module")
def unseen():
    return np.random.default_rng(5).dirichlet(np.ones(4), 300)


def ranks(predicted, truth):
    return float(spearman(predicted.mean(axis=1)[:, None], truth.mean(axis=1)[:, None])[0])


def test_slopes_are_found_and_repair_the_ranks_of_a_weighted_objective_at_the_target(proxies, unseen):
    law = fit_sizes(proxies, BASE, [larger(proxies)], OBJECTIVE)
    assert law.used == SLOPES
    assert law.sure > 0.99
    assert law.slope - law.slope.mean() == pytest.approx(SLOPE - SLOPE.mean(), abs=0.02)
    predicted = proxies.predict(unseen)
    for size, least in ((NEAR, 0.99), (TARGET, 0.95)):
        truth, moved = losses(unseen, size), law.moved(predicted, size)
        assert ranks(predicted, truth) + 0.02 < ranks(moved, truth) > least
    spread = losses(unseen, NEAR).std(axis=0) / losses(unseen, BASE).std(axis=0)
    assert law.scale(NEAR) == pytest.approx(spread, rel=0.2)


def test_what_is_open_grows_with_the_distance(proxies):
    law = fit_sizes(proxies, BASE, [larger(proxies)], OBJECTIVE)
    pair = proxies.weights[:2]
    near, distant = (law.differences(proxies, size, pair, OBJECTIVE)[:, 1].std() for size in (LARGER, TARGET))
    assert distant > 2 * near > 0


def test_slopes_that_differ_little_are_not_followed_and_many_targets_tell_more(proxies):
    """Twelve times the distance that was trained, a difference of .02 would weigh one target twice as much."""
    little = fit_sizes(proxies, BASE, [larger(proxies, slope=np.array([-0.01, 0.01, 0.0]))], OBJECTIVE)
    assert little.used == SINGLE
    assert little.sure < 0.6
    drawn = little.draws[:, :3] - little.draws[:, :3].mean(axis=1, keepdims=True)
    assert np.abs(drawn.mean(axis=0)).max() < 0.01
    assert drawn.std() > 0.002  # that none is used does not make them certain
    assert fit_sizes(proxies, BASE, [larger(proxies)], OBJECTIVE).sure > little.sure


def test_a_single_target_has_no_other_to_be_weighed_against(proxies):
    alone = replace(proxies, targets=TARGETS[:1], losses=proxies.losses[:, :1], blend={"prose": proxies.blend["prose"]})
    runs = larger(proxies)
    law = fit_sizes(alone, BASE, [replace(runs, losses=runs.losses[:, :1])], {"prose": 1.0})
    assert law.used == SINGLE
    assert law.sure == pytest.approx(0.5)


def test_sizes_that_rank_alike_are_left_to_the_proxies_alone(proxies, unseen):
    law = fit_sizes(proxies, BASE, [larger(proxies, slope=np.full(3, -0.1))], OBJECTIVE)
    assert law.used == SINGLE
    predicted = proxies.predict(unseen)
    moved = law.moved(predicted, TARGET)
    assert ranks(moved, predicted) == pytest.approx(1)
    assert {score.law for score in law.scores} == {SINGLE, SLOPES}


def test_folds_never_see_the_runs_that_they_are_judged_on(proxies):
    """A law for which nothing of a mixture left out can be known is not used, however well it fits the others."""
    generator = np.random.default_rng(6)
    runs = larger(proxies)
    shuffled = replace(runs, losses=runs.losses[generator.permutation(len(runs.losses))])
    law = fit_sizes(proxies, BASE, [shuffled], OBJECTIVE)
    assert max(score.correlation for score in law.scores) < 0.6


def test_too_few_runs_or_smaller_ones_fit_nothing(proxies):
    assert fit_sizes(proxies, BASE, [larger(proxies, FEWEST - 1)], OBJECTIVE) is None
    assert fit_sizes(proxies, BASE, [replace(larger(proxies), size=ModelSize(1e5, 1e7))], OBJECTIVE) is None


def test_three_sizes_share_one_law(proxies):
    third = SizeRuns(
        ModelSize(1.6e7, 1.6e9), proxies.weights[:10], losses(proxies.weights[:10], ModelSize(1.6e7, 1.6e9))
    )
    law = fit_sizes(proxies, BASE, [larger(proxies, 12), third], OBJECTIVE)
    assert law.slope - law.slope.mean() == pytest.approx(SLOPE - SLOPE.mean(), abs=0.02)


def test_same_runs_same_law_and_a_saved_one_is_the_same(proxies, unseen):
    law, again = (fit_sizes(proxies, BASE, [larger(proxies)], OBJECTIVE, seed=9) for _ in range(2))
    restored = SizeLaw.restored(json.loads(json.dumps(law.as_json())))
    assert restored.scores == law.scores == again.scores
    predicted = proxies.predict(unseen)
    for other in (again, restored):
        assert (other.moved(predicted, TARGET) == law.moved(predicted, TARGET)).all()


def test_a_choice_is_surer_of_what_lies_near_in_size_and_far_in_loss(proxies):
    law = fit_sizes(proxies, BASE, [larger(proxies)], OBJECTIVE)
    order = np.argsort(proxies.objective(proxies.weights, OBJECTIVE))
    best, second, worst = proxies.weights[order[[0, 1, -1]]]
    rivals = {"second": second, "worst": worst, "itself": best}
    here = {row["rival"]: row for row in survival(proxies, law, BASE, best, rivals, OBJECTIVE)}
    there = {row["rival"]: row for row in survival(proxies, law, TARGET, best, rivals, OBJECTIVE)}
    assert here["worst"]["chance"] > 0.99
    assert here["itself"]["chance"] == 0.5 == there["itself"]["chance"]
    assert there["second"]["high"] - there["second"]["low"] > here["second"]["high"] - here["second"]["low"]
    found = runner_up(proxies, best, OBJECTIVE, np.ones(len(proxies.weights), dtype=bool))
    assert (found == second).all()
