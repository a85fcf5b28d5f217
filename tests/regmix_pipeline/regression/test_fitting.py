"""Fitting a study: honest scores, choices, intervals that hold, saving, and errors a user can act on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.study.settings.regression import RegressionSettings

FAST = RegressionSettings(regressors=("linear", "saturation", "gaussian_process", "stack"), bootstrap=100)
DOMAINS, TARGETS = ["books", "code", "papers", "web"], ["books", "code", "news"]


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def fitted(world: Callable) -> FittedRegressor:
    made = world(96)
    return fit(made.weights, made.losses, np.full((96, 3), 0.01), DOMAINS, TARGETS, FAST, seed=1, workers=2, say=quiet)


def value(fitted: FittedRegressor, **wanted: str) -> list[float]:
    return [row["value"] for row in fitted.scores if all(row[key] == text for key, text in wanted.items())]


def test_scores_every_regressor_on_every_target_and_split(fitted: FittedRegressor) -> None:
    for split in ("random", "region"):
        for name in FAST.regressors:
            for metric in ("spearman", "pearson", "rmse"):
                assert len(value(fitted, regressor=name, split=split, metric=metric)) == 3
    for row in fitted.scores:
        assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9 or row["metric"] == "spearman"
        assert set(row) == {"regressor", "target", "split", "metric", "value", "low", "high", "chosen"}


def test_chooses_what_is_best_and_scores_the_choosing(fitted: FittedRegressor) -> None:
    assert set(fitted.chosen.values()) <= {"saturation", "gaussian_process", "stack"}
    law = np.mean(value(fitted, regressor="saturation", split="random", metric="rmse"))
    linear = np.mean(value(fitted, regressor="linear", split="random", metric="rmse"))
    nested = np.mean(value(fitted, regressor="nested_choice_by_rank", split="random", metric="rmse"))
    assert law < 0.5 * linear
    assert nested < 1.3 * law
    assert fitted.judged_on == ("random", "region")
    assert set(fitted.choices) == {"rank", "calibration"}


def test_out_of_fold_scores_predict_fresh_rows(fitted: FittedRegressor, world: Callable) -> None:
    fresh = world(400, seed=9)
    predicted = fitted.predict(fresh.weights)
    for j in range(3):
        fresh_rank = spearmanr(predicted[:, j], fresh.losses[:, j])[0]
        told = value(fitted, regressor=fitted.chosen[TARGETS[j]], target=TARGETS[j], split="random", metric="spearman")
        assert abs(fresh_rank - told[0]) < 0.05


def test_no_row_is_predicted_by_a_model_that_saw_it() -> None:
    """Losses of pure noise: any skill out of fold would be a leak."""
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(4), 80)
    losses = generator.normal(3, 0.1, size=(80, 4))
    found = fit(weights, losses, None, DOMAINS, ["a", "b", "c", "d"], FAST, workers=2, say=quiet)
    for name in FAST.regressors:
        assert abs(np.mean(value(found, regressor=name, split="random", metric="spearman"))) < 0.25


def test_intervals_hold_as_often_as_they_say(fitted: FittedRegressor, world: Callable) -> None:
    fresh = world(500, seed=5)
    low, high = fitted.interval(fresh.weights, 0.9)
    assert 0.82 < np.mean((fresh.losses >= low) & (fresh.losses <= high)) < 0.97
    assert all(0.8 <= share <= 0.97 for share in value(fitted, metric="coverage"))
    weighting = {"books": 1.0, "news": 3.0}
    low, high = fitted.objective_interval(fresh.weights, weighting, 0.9)
    truth = fresh.losses @ fitted.shares(weighting)
    assert 0.82 < np.mean((truth >= low) & (truth <= high)) < 0.97
    narrow = fitted.interval(fresh.weights, 0.6)
    assert (
        narrow[1] - narrow[0] < fitted.interval(fresh.weights, 0.95)[1] - fitted.interval(fresh.weights, 0.95)[0]
    ).all()


def test_objective_is_the_weighted_mean(fitted: FittedRegressor, world: Callable) -> None:
    weights = world(10, seed=3).weights
    for regressor in (None, "saturation", "stack"):
        mean = fitted.predict(weights, regressor) @ np.array([0.25, 0.0, 0.75])
        np.testing.assert_allclose(fitted.objective(weights, {"books": 1, "news": 3}, regressor), mean)
    assert fitted.law == "saturation"


def test_same_input_same_answer_whatever_the_workers(world: Callable) -> None:
    made = world(40)
    found = [
        fit(made.weights, made.losses, None, DOMAINS, TARGETS, FAST, seed=3, workers=workers, say=quiet)
        for workers in (1, 3)
    ]
    np.testing.assert_array_equal(found[0].predict(made.weights), found[1].predict(made.weights))
    assert found[0].scores == found[1].scores


def test_saves_and_loads_without_pickle(fitted: FittedRegressor, world: Callable, tmp_path: Path) -> None:
    weights = world(30, seed=4).weights
    fitted.save(tmp_path / "kept")
    again = FittedRegressor.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.predict(weights), fitted.predict(weights))
    np.testing.assert_array_equal(again.interval(weights)[0], fitted.interval(weights)[0])
    assert (again.chosen, again.scores, again.choices) == (fitted.chosen, fitted.scores, fitted.choices)
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".json"]


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"format": -1}'])
def test_refuses_what_it_did_not_write(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "regressor.json").write_text(content)
    with pytest.raises(RegressionError, match=r"regressor\.json"):
        FittedRegressor.load(tmp_path)


@pytest.mark.parametrize("rows", [8, 9, 12, 31])
@pytest.mark.parametrize("targets", [1, 3])
def test_works_with_few_rows(rows: int, targets: int, world: Callable) -> None:
    made = world(rows)
    settings = RegressionSettings(bootstrap=50)
    found = fit(
        made.weights, made.losses[:, :targets], None, DOMAINS, TARGETS[:targets], settings, workers=2, say=quiet
    )
    assert np.isfinite(found.predict(made.weights)).all()
    assert np.isfinite(found.interval(made.weights)).all()


def test_two_domains_suffice() -> None:
    share = np.linspace(0, 1, 12)
    losses = 3 + np.exp(-2 * share)[:, None]
    found = fit(np.column_stack([share, 1 - share]), losses, None, ["a", "b"], ["t"], FAST, workers=1, say=quiet)
    assert found.predict(np.array([[0.5, 0.5]]))[0, 0] == pytest.approx(3 + np.exp(-1), abs=0.05)


def spoil(key: str, made: Any) -> dict[str, Any]:
    arguments = {"weights": made.weights.copy(), "losses": made.losses.copy(), "errors": None, "targets": TARGETS}
    if key == "nan":
        arguments["losses"][3, 1] = np.nan
    elif key == "rows":
        arguments |= {"weights": made.weights[:7], "losses": made.losses[:7]}
    elif key == "shape":
        arguments["losses"] = made.losses[:-1]
    elif key == "sum":
        arguments["weights"][2] *= 1.5
    elif key == "negative":
        arguments["weights"][4, 0] = -0.1
    elif key == "same":
        arguments["weights"][:] = 0.25
    elif key == "twice":
        arguments["targets"] = ["books", "books", "news"]
    elif key == "errors":
        arguments["errors"] = np.full((12, 3), -0.1)
    elif key == "text":
        arguments["losses"] = np.full((12, 3), "high")
    return arguments


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nan", "row 3, code"),
        ("rows", "7 mixtures"),
        ("shape", r"\(11, 3\)"),
        ("sum", "row 2"),
        ("negative", "row 4"),
        ("same", "the same"),
        ("twice", "listed twice"),
        ("errors", "negative"),
        ("text", "numbers"),
    ],
)
def test_refuses_bad_tables(key: str, message: str, world: Callable) -> None:
    bad = spoil(key, world(12))
    with pytest.raises(RegressionError, match=message):
        fit(bad["weights"], bad["losses"], bad["errors"], DOMAINS, bad["targets"], FAST, say=quiet)


def test_refuses_bad_questions(fitted: FittedRegressor, world: Callable) -> None:
    weights = world(3).weights
    with pytest.raises(RegressionError, match="unknown targets"):
        fitted.objective(weights, {"poems": 1.0})
    with pytest.raises(RegressionError, match="not all zero"):
        fitted.objective(weights, {"books": 0.0})
    with pytest.raises(RegressionError, match="3 columns"):
        fitted.predict(weights[:, :3])
    with pytest.raises(RegressionError, match="was not kept"):
        fitted.predict(weights, "lightgbm")


@pytest.mark.parametrize("names", [(), ("stack",), ("linear", "linear")])
def test_refuses_bad_lists_of_regressors(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="at least one regressor"):
        RegressionSettings.model_validate({"regressors": names})
