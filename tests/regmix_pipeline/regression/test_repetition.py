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
from regmix_pipeline.regression.laws.epochs import FORMS, EpochLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.repetition import EpochsProcess, worth
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


WORN = np.array([1.5, 10.0, 2.0, 6.0])
"""Repetitions after which each domain's tokens are worn out."""
OFTEN = np.array([25.0, 8.0, 12.0, 0.5])


def wearing_out(weights: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Losses of a world in which worn-out tokens harm: of no form that the law has."""
    repeated = np.maximum(weights * rates - 1, 0.0)
    gained = 1.05 * WORN * -np.expm1(-repeated / WORN) - 0.05 * repeated
    value = np.where(weights * rates > 1, weights * (1 + gained) / np.maximum(weights * rates, 1), weights)
    helps = np.array([[1.0, 0.4], [0.3, 1.0], [0.6, 0.5], [0.4, 0.3]])
    return 2 + 1.5 * ((np.maximum(value, 0) + 1e-3) ** 0.6 @ helps + 0.05) ** -0.5


@pytest.fixture(scope="module")
def worn_out():
    """96 runs, and 300 mixtures without noise; every run repeats alike."""
    generator = np.random.default_rng(3)
    seen, fresh = generator.dirichlet(np.full(4, 0.7), 96), generator.dirichlet(np.full(4, 0.7), 300)
    return seen, wearing_out(seen, OFTEN) + generator.normal(0, 0.003, (96, 2)), fresh, wearing_out(fresh, OFTEN)


@pytest.mark.parametrize(("name", "plain"), [("epochs", "saturation"), ("epochs_process", "gaussian_process")])
def test_a_fitted_response_to_repetition_predicts_better_than_none(worn_out, name: str, plain: str) -> None:
    seen, losses, fresh, truth = worn_out
    errors = {
        each: np.sqrt(np.mean((regressor(each, OFTEN.tolist()).fit(seen, losses).predict(fresh) - truth) ** 2))
        for each in (name, plain, "repeated+saturation")
    }
    assert errors[name] < 0.85 * min(errors[plain], errors["repeated+saturation"])


def test_the_law_tells_which_domains_wear_out_first() -> None:
    """Runs of two rates, since at one rate alone a power of the weight can do what wearing out does."""
    generator = np.random.default_rng(3)
    seen = generator.dirichlet(np.full(4, 0.7), 240)
    rates = np.where((np.arange(240) % 2 == 0)[:, None], OFTEN, OFTEN / 8)
    losses = wearing_out(seen, rates) + generator.normal(0, 0.001, (240, 2))
    fitted = regressor("epochs", OFTEN.tolist())
    fitted.fit(seen, losses, rates=rates)  # type: ignore[call-arg]
    memory = fitted.learned_["memory"].mean(axis=0)
    assert memory[0] < memory[1]
    assert memory[2] < memory[1]
    law = fitted.base_  # type: ignore[attr-defined]
    assert law.learned_["shapes"] == fitted.learned_["shapes"]


def test_its_derivatives_are_those_of_its_exponent() -> None:
    law, generator = EpochLaw(), np.random.default_rng(0)
    X = generator.dirichlet(np.ones(4), 30)
    X = np.column_stack([X, X * OFTEN])
    size = sum(block.size for block in law.blocks(8))
    theta = generator.normal(0, 0.3, (len(FORMS), size))
    form, absent = 5 + 3 * 4, 4 + 2 * 4
    theta[:, form], theta[:, absent], theta[:, form + 1] = range(len(FORMS)), np.log(1e-3), np.log([3, 4, 5])
    _, found = law.exponent(theta, X, True)
    for k in set(range(1, size)) - {form}:
        step = 1e-6 * np.eye(size)[k]
        rise = (law.exponent(theta + step, X, False)[0] - law.exponent(theta - step, X, False)[0]) / 2e-6
        assert found is not None
        np.testing.assert_allclose(found[:, :, k], rise, atol=1e-6)


def test_without_repetition_it_is_the_saturation_law(world: Callable) -> None:
    made = world(70)
    plain = SaturationLaw().fit(made.weights, made.losses).predict(made.weights)
    assert regressor("epochs", [0.5] * 4).fit(made.weights, made.losses).predict(made.weights) == pytest.approx(plain)


def test_it_competes_where_runs_repeat_and_is_used_only_where_it_wins(worn_out, world: Callable) -> None:
    seen, losses, *_ = worn_out
    base = {"regressors": ("saturation",), "bootstrap": 50, "extrapolation": "off", "step_laws": False}
    told = {"workers": 2, "say": lambda line: None, "epochs_per_weight": OFTEN}

    def fitted(weights, measured, names, **changes):
        settings = RegressionSettings(**(base | changes))
        return fit(weights, measured, None, NAMES, names, settings, **told)

    found = fitted(seen, losses, ["a", "b"])
    assert set(found.chosen.values()) <= {"epochs", "epochs_process"}
    again = {row["regressor"] for row in fitted(seen, losses, ["a", "b"], repetition="assume").scores}
    assert not {"epochs", "epochs_process"} & again
    assert "repeated+saturation" in again
    off = {row["regressor"] for row in fitted(seen, losses, ["a", "b"], repetition="off").scores}
    assert not any(name.startswith(("repeated", "epochs")) for name in off)
    # Losses that know nothing of epochs are left to the plain law.
    made = world(96)
    assert set(fitted(made.weights, made.losses, ["a", "b", "c"]).chosen.values()) == {"saturation"}


def test_a_process_round_it_predicts_runs_at_their_own_rates_and_is_kept(worn_out) -> None:
    seen, losses, fresh, truth = worn_out
    fitted = regressor("epochs_process", OFTEN.tolist()).fit(seen, losses)
    assert isinstance(fitted, EpochsProcess)
    fewer = np.broadcast_to(OFTEN / 4, fresh.shape)
    errors = [np.abs(each - wearing_out(fresh, OFTEN / 4)).mean() for each in (fitted.predict_at(fresh, fewer), truth)]
    assert errors[0] < 0.5 * errors[1]
    assert fitted.deviation_at(fresh, fewer).shape == (300, 2)
    again = regressor("epochs_process").restore(json.loads(json.dumps(fitted.state())))
    np.testing.assert_array_equal(again.predict(fresh), fitted.predict(fresh))
    np.testing.assert_array_equal(again.standard_deviation(fresh), fitted.standard_deviation(fresh))  # type: ignore[attr-defined]
    joint = fitted.joint_posterior(fresh[:5], np.array([0.5, 0.5]))
    np.testing.assert_allclose(joint.mean, fitted.predict(fresh[:5]).mean(axis=1))
