"""Every regressor: scikit-learn's contract, one target or several, JSON and back."""

# ruff: noqa: TID253 - tests load what they test
from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
from augmentation import AUGMENTATIONS, augmented
from sklearn.utils.estimator_checks import estimator_checks_generator

from regmix_pipeline.regression.catalogue import NGRAMS, REGRESSORS, REPEATED
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.laws.bimix import BiMixLaw

ITERATED = "fitted by iterations, inner folds or mixing of rows, where a row of weight 2 is not two rows"
NOT_THE_SAME = {
    "check_sample_weight_equivalence_on_dense_data": ITERATED,
    "check_sample_weights_invariance": ITERATED,
}


ALONE = [name for name in REGRESSORS if name not in NGRAMS]
"""Regressors that need nothing but weights and losses."""
WRAPPED = [f"{wrapper}+linear" for wrapper in (*AUGMENTATIONS, REPEATED)]


# The process round epochs is checked as the one round the plain law, which without repetition it is.
SLOW = [pytest.param("epochs_process", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", [*(name for name in ALONE if name != "epochs_process"), *SLOW, *WRAPPED, "bimix"])
def test_keeps_scikit_learns_contract(name: str) -> None:
    estimator = BiMixLaw() if name == "bimix" else augmented(name)
    if "rounds" in estimator.get_params():
        estimator.set_params(rounds=10)
    if "max_rounds" in estimator.get_params():
        estimator.set_params(max_rounds=10)
    for one, check in estimator_checks_generator(estimator):
        if check.func.__name__ in NOT_THE_SAME and name not in ("linear", "repeated+linear"):  # type: ignore[attr-defined]
            continue
        with suppress(SkipTest):  # checks of libraries that are not installed
            check(one)


@pytest.mark.parametrize("name", ALONE)
def test_predicts_targets_together_as_apart_and_survives_json(name: str, world: Callable) -> None:
    made = world(60)
    together = REGRESSORS[name]().fit(made.weights, made.losses)
    predicted = together.predict(made.weights)
    assert predicted.shape == made.losses.shape
    assert np.array_equal(together.predict_targets(made.weights, [2, 0]), predicted[:, [2, 0]])
    state = json.loads(json.dumps(together.state(), allow_nan=False))
    again: MixtureRegressor = REGRESSORS[name]().restore(state)
    np.testing.assert_array_equal(again.predict(made.weights), predicted)
    alone = REGRESSORS[name]().fit(made.weights, made.losses[:, 1]).predict(made.weights)
    assert alone.shape == (60,)
    assert np.corrcoef(alone, predicted[:, 1])[0, 1] > 0.98


@pytest.mark.parametrize("name", ALONE)
def test_survives_constant_columns_and_constant_losses(name: str, world: Callable) -> None:
    made = world(20)
    weights = np.column_stack([made.weights[:, :2], np.zeros(20), made.weights[:, 2:]])
    losses = np.column_stack([made.losses[:, 0], np.full(20, 3.0)])
    predicted = REGRESSORS[name]().fit(weights, losses).predict(weights)
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted[:, 1], 3.0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "share"),
    [("saturation", 0.4), ("gaussian_process", 0.4), ("law_lightgbm", 0.4), ("power_exponential", 0.8)],
)
def test_learns_the_law_from_few_rows(name: str, share: float, world: Callable) -> None:
    made, fresh = world(40, seed=1), world(300, noise=0.0, seed=2)
    predicted = REGRESSORS[name]().fit(made.weights, made.losses).predict(fresh.weights)
    baseline = REGRESSORS["linear"]().fit(made.weights, made.losses).predict(fresh.weights)
    error = np.sqrt(((predicted - fresh.losses) ** 2).mean(axis=0))
    linear = np.sqrt(((baseline - fresh.losses) ** 2).mean(axis=0))
    assert (error < share * linear).all()


def test_rows_of_no_weight_do_not_count(world: Callable) -> None:
    made = world(50)
    spoiled = made.losses.copy()
    spoiled[:10] += 5.0
    weight = np.r_[np.zeros(10), np.ones(40)]
    found = REGRESSORS["saturation"]().fit(made.weights, spoiled, sample_weight=weight).predict(made.weights[10:])
    assert np.abs(found - made.losses[10:]).max() < 0.3


def test_tuned_trees_split_where_default_trees_cannot(world: Callable) -> None:
    made = world(30)
    default = REGRESSORS["lightgbm"]().fit(made.weights, made.losses).predict(made.weights)
    tuned = REGRESSORS["lightgbm_tuned"]().fit(made.weights, made.losses).predict(made.weights)
    assert np.ptp(default, axis=0).max() < 1e-12
    assert np.ptp(tuned, axis=0).min() > 0.1


def test_positive_offset_is_positive(world: Callable) -> None:
    made = world(60)
    low = made.losses - made.losses.min(axis=0) + 0.05  # an offset below zero would fit best
    law = REGRESSORS["log_linear"]().fit(made.weights, low)
    learned = law.learned_
    offset = learned["level"] + learned["scale"] * learned["theta"][:, 0]
    assert (offset > -1e-9).all()
