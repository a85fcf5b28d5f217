"""Repeated data and training steps: worth of repeated tokens, BiMix's law."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.regression.catalogue import regressor
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.laws.bimix import BiMixLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.repetition import worth
from regmix_pipeline.study.settings.regression import RegressionSettings

NAMES = ["books", "code", "papers", "web"]


@given(weight=st.floats(0, 1), rate=st.floats(0, 200))
def test_repeated_tokens_are_worth_less_but_never_nothing(weight: float, rate: float) -> None:
    one = np.array([[weight, 1 - weight]])
    found = worth(one, np.array([rate, 0.0]))
    assert found[0, 0] <= weight + 1e-12
    assert found[0, 1] == one[0, 1]
    if weight * rate <= 1:
        assert found[0, 0] == weight
    more = worth(np.array([[min(weight * 1.1, 1.0), 0.0]]), np.array([rate, 0.0]))
    assert more[0, 0] >= found[0, 0] - 1e-12


def test_four_epochs_are_worth_almost_four() -> None:
    """Muennighoff et al. 2023: up to four epochs of repeated data are nearly as good as fresh data."""
    assert worth(np.array([[1.0, 0.0]]), np.array([4.0, 0.0]))[0, 0] == pytest.approx(0.93, abs=0.02)
    assert worth(np.array([[1.0, 0.0]]), np.array([40.0, 0.0]))[0, 0] < 0.4


def test_counts_repetition_when_runs_repeat(world: Callable) -> None:
    made = world(80)
    rate = [40.0, 0.5, 0.5, 0.5]
    losses = made.truth(worth(made.weights, np.array(rate)))
    settings = RegressionSettings(regressors=("saturation", "stack"), bootstrap=50, extrapolation="off")
    found = fit(
        made.weights, losses, None, NAMES, ["a", "b", "c"], settings, say=lambda line: None, epochs_per_weight=rate
    )
    rmse = {row["regressor"]: row["value"] for row in found.scores if (row["metric"], row["target"]) == ("rmse", "a")}
    assert rmse["repeated+saturation"] < 0.8 * rmse["saturation"]
    once = fit(
        made.weights, losses, None, NAMES, ["a", "b", "c"], settings, say=lambda line: None, epochs_per_weight=[0.5] * 4
    )
    assert not any(row["regressor"].startswith("repeated") for row in once.scores)
    with pytest.raises(RegressionError, match="epochs per weight"):
        fit(made.weights, losses, None, NAMES, ["a", "b", "c"], settings, epochs_per_weight=[1.0])


def test_rows_of_other_runs_carry_their_own_rates(world: Callable) -> None:
    """Half of the runs repeat books forty times, half never; predictions are for runs that never do."""
    made, fresh = world(120, noise=0.003), world(200, noise=0.0, seed=5)
    often, once = np.array([40.0, 0.5, 0.5, 0.5]), np.full(4, 0.5)
    rates = np.where((np.arange(120) % 2 == 0)[:, None], often, once)
    losses = made.truth(worth(made.weights, rates)) + (made.losses - made.truth(made.weights))
    settings = RegressionSettings(regressors=("saturation", "stack"), bootstrap=50, extrapolation="off")
    told = {"settings": settings, "say": lambda line: None, "workers": 2}
    found = fit(made.weights, losses, None, NAMES, ["a", "b", "c"], **told, epochs_per_weight=rates, predict_at=once)
    blind = fit(made.weights, losses, None, NAMES, ["a", "b", "c"], **told)
    rmse = {row["regressor"]: row["value"] for row in found.scores if (row["metric"], row["target"]) == ("rmse", "a")}
    assert rmse["repeated+saturation"] < 0.5 * rmse["saturation"]  # held-out rows at their own rates
    name = "repeated+saturation"
    errors = [np.abs(one.predict(fresh.weights)[:, 0] - fresh.losses[:, 0]).mean() for one in (found, blind)]
    assert errors[0] < 0.5 * errors[1]
    assert found.models[name].get_params(deep=False)["epochs_per_weight"] == once.tolist()
    far = found.models[name].predict_at(fresh.weights, np.broadcast_to(often, (200, 4)))  # pyright: ignore
    truth = made.truth(worth(fresh.weights, often))
    assert np.abs(far - truth)[:, 0].mean() < 0.5 * np.abs(fresh.losses - truth)[:, 0].mean()
    with pytest.raises(RegressionError, match="rates to predict at"):
        fit(made.weights, losses, None, NAMES, ["a", "b", "c"], epochs_per_weight=rates, predict_at=[-1.0] * 4)
    with pytest.raises(ValueError, match="do not go with"):
        regressor(name, [1.0]).fit(made.weights, losses)


def test_repeated_regressor_is_kept(world: Callable, tmp_path) -> None:
    made = world(40)
    fitted = regressor("repeated+saturation", [30.0, 0.5, 0.5, 0.5]).fit(made.weights, made.losses)
    state = json.loads(json.dumps(fitted.state()))
    again = regressor("repeated+saturation").restore(state)
    np.testing.assert_array_equal(again.predict(made.weights), fitted.predict(made.weights))
    settings = RegressionSettings(regressors=("linear",), bootstrap=50, extrapolation="off")
    found = fit(
        made.weights,
        made.losses,
        None,
        NAMES,
        ["a", "b", "c"],
        settings,
        say=lambda line: None,
        epochs_per_weight=[30.0, 0.5, 0.5, 0.5],
    )
    found.save(tmp_path)
    np.testing.assert_array_equal(FittedRegressor.load(tmp_path).predict(made.weights), found.predict(made.weights))


def test_bimix_follows_a_loss_through_training() -> None:
    generator = np.random.default_rng(0)
    weights = np.repeat(generator.dirichlet(np.ones(3), 30), 6, axis=0)
    steps = np.tile([100.0, 200, 400, 800, 1600, 3200], 30)
    losses = (weights[:, 1] + 1e-4) ** -0.07 * (9 * steps**-0.3 + 2.0)
    rows = np.column_stack([weights, steps])
    measured = losses + generator.normal(0, 0.01, len(losses))
    early = steps < 1000
    law = BiMixLaw(own=1).fit(rows[early], measured[early])
    ahead = np.abs(law.predict(rows[~early]) - losses[~early]).mean()
    stale = np.abs(
        SaturationLaw().fit(weights[early], measured[early]).predict(weights[~early]) - losses[~early]
    ).mean()
    assert ahead < 0.06
    assert ahead < 0.3 * stale
    again = BiMixLaw().restore(json.loads(json.dumps(law.state())))
    np.testing.assert_array_equal(again.predict(rows), law.predict(rows))


def test_bimix_jacobian_is_the_derivative() -> None:
    generator = np.random.default_rng(1)
    X = np.column_stack([generator.dirichlet(np.ones(3), 5), [10.0, 100, 1000, 500, 50]])
    theta = generator.normal(0, 0.3, size=(2, 5)) + np.array([0, 1.0, -1.0, 0.0, -2.0])
    law = BiMixLaw(own=2)
    _, J = law.exponent(theta, X, True)
    assert J is not None
    for k in range(1, 5):
        step = np.eye(5)[k] * 1e-6
        slope = (law.exponent(theta + step, X, False)[0] - law.exponent(theta - step, X, False)[0]) / 2e-6
        np.testing.assert_allclose(J[:, :, k], slope, atol=1e-5)
