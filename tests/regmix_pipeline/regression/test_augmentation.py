"""Mixup keeps to its rows and to the simplex, and cleans what is noisy."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from augmentation import AUGMENTATIONS, MixRL, RCMixup, augmented, mixed_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.regression.catalogue import regressor
from regmix_pipeline.regression.laws.saturation import SaturationLaw


@given(seed=st.integers(0, 2**31), rows=st.integers(3, 20))
@settings(max_examples=25, deadline=None)
def test_mixed_rows_lie_between_their_partners(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    X, Y = generator.dirichlet(np.ones(3), rows), generator.normal(3, 1, (rows, 2))
    weight = (np.arange(rows) > 0).astype(float)  # the first row does not count
    mixed = mixed_rows(X, Y, weight, np.ones((rows, rows)), 3, generator)
    assert mixed is not None
    W, losses, row_weight = mixed
    assert len(W) == 3 * (rows - 1)
    np.testing.assert_allclose(W.sum(axis=1), 1.0)
    assert losses.min() >= Y[1:].min() - 1e-9
    assert losses.max() <= Y[1:].max() + 1e-9
    assert (row_weight == 1).all()
    assert mixed_rows(X, Y, weight, np.eye(rows), 3, generator) is None  # nobody is their own partner


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_fits_predicts_and_survives_json(name: str, world: Callable) -> None:
    made, fresh = world(60), world(200, noise=0.0, seed=4)
    fitted = augmented(f"{name}+saturation").fit(made.weights, made.losses)
    predicted = fitted.predict(fresh.weights)
    assert np.sqrt(((predicted - fresh.losses) ** 2).mean()) < 0.05
    state = json.loads(json.dumps(fitted.state(), allow_nan=False))
    np.testing.assert_array_equal(augmented(f"{name}+saturation").restore(state).predict(fresh.weights), predicted)


def test_rc_mixup_drops_the_rows_that_are_wrong(world: Callable) -> None:
    made, fresh = world(120), world(200, noise=0.0, seed=4)
    wrong = made.losses.copy()
    wrong[:6] += np.array([[1.5], [-1.5]] * 3)
    plain = SaturationLaw().fit(made.weights, wrong)
    robust = RCMixup(SaturationLaw()).fit(made.weights, wrong)
    errors = [np.sqrt(((one.predict(fresh.weights) - fresh.losses) ** 2).mean()) for one in (plain, robust)]
    assert errors[1] < 0.6 * errors[0]
    assert 6 <= robust.learned_["dropped"] < 40


def test_mixrl_learns_not_to_mix_what_is_far_apart() -> None:
    """A saw of mixtures: neighbours mix well, the rest does not."""
    share = np.linspace(0, 1, 120)
    weights = np.column_stack([share, 1 - share])
    losses = 3 + np.abs(share - 0.5)
    wrapped = MixRL(regressor("lightgbm_tuned").set_params(max_rounds=40), episodes=30, seed=1)
    policy = wrapped.fit(weights, losses).learned_["policy"].reshape(3, 3)
    assert policy.shape == (3, 3)
    assert policy[0, 0] > policy[2].min()
