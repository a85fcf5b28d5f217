"""Step laws: each predicts what it claims to, learns nothing from the mixture it is scored on, and is fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.regression import steps as step_laws
from regmix_pipeline.regression.steps import Curves, extrapolated, power_law, step_law_rows

STEPS = np.array([9.0, 18, 36, 72, 144, 288])
LAWS = ("linear", "power", "bimix")


def curves_of(runs: int, noise: float = 0.003, seed: int = 0, own: int | None = 0) -> Curves:
    """Runs whose loss falls by a power of the step towards a floor set by the own domain's proportion."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(4), runs)
    level = (weights[:, 0] + 1e-2) ** -0.1
    losses = level[:, None] * (6 * STEPS**-0.4 + 2.0) + generator.normal(0, noise, (runs, len(STEPS)))
    return Curves("books", own, weights, STEPS, losses, level * (6 * 288**-0.4 + 2.0), 288.0)


@given(
    floor=st.floats(0, 5), fall=st.floats(0, 20), power=st.floats(0.02, 2.5), ahead=st.sampled_from([300.0, 600.0, 3e3])
)
@settings(max_examples=60, deadline=None)
def test_power_law_continues_a_power_law(floor: float, fall: float, power: float, ahead: float) -> None:
    losses = floor + fall * (STEPS / 9) ** -power
    found = power_law(STEPS, losses[None], ahead)[0]
    assert found == pytest.approx(floor + fall * (ahead / 9) ** -power, abs=0.02 * (1 + fall))


def test_power_law_never_rises_and_never_falls_below_zero() -> None:
    rising = power_law(STEPS[:4], np.array([[3.0, 3.1, 3.2, 3.3]]), 1e4)
    assert rising[0] == pytest.approx(3.15)  # the best that does not rise is flat
    steep = power_law(STEPS[:4], np.array([[9.0, 4.0, 1.0, 0.1]]), 1e6)
    assert 0 <= steep[0] < 0.1


@pytest.mark.parametrize("law", LAWS)
def test_final_losses_are_extrapolated_from_half_of_the_steps(law: str) -> None:
    (row,) = (
        row
        for row in step_law_rows([curves_of(40)], 5, 0.9, 100, 0)
        if (row["law"], row["fitted_until_step"]) == (law, 144)
    )
    assert row["share_of_steps"] == 0.5
    assert row["mixtures"] == 40
    assert row["spearman"] > 0.95
    assert row["rmse"] < 0.25 * row["deviation"]
    assert row["rmse_low"] <= row["rmse"] <= row["rmse_high"]


def test_only_the_linear_map_survives_a_learning_rate_that_decays() -> None:
    """A decay drops every loss at the end by a share of what is left: no power law in the step knows of it."""
    curve = curves_of(40)
    decayed = Curves(curve.target, 0, curve.weights, STEPS, curve.losses, 0.9 * curve.final - 0.1, 288.0)
    rows = {row["law"]: row for row in step_law_rows([decayed], 5, 0.9, 100, 0) if row["fitted_until_step"] == 144}
    assert rows["linear"]["rmse"] < 0.2 * min(rows["power"]["rmse"], rows["bimix"]["rmse"])
    assert rows["power"]["spearman"] > 0.95  # the order stands


@pytest.mark.parametrize("law", LAWS)
def test_nothing_is_learned_from_the_mixture_that_is_scored(law: str) -> None:
    curve, fold = curves_of(20), np.arange(20) % 5
    spoiled = Curves("books", 0, curve.weights, STEPS, curve.losses.copy(), curve.final.copy(), 288.0)
    spoiled.final[fold == 2] += 5.0
    if law == "bimix":  # it never looks at the run's own losses either
        spoiled.losses[fold == 2] += 5.0
    before, after = (extrapolated(one, 5, fold)[law] for one in (curve, spoiled))
    # BiMix's weak priors are in units of all losses' deviation, which moves nothing but the last digits.
    np.testing.assert_allclose(after[fold == 2], before[fold == 2], atol=1e-3 if law == "bimix" else 1e-9)
    if law != "power":
        assert np.abs(after[fold != 2] - before[fold != 2]).max() > 1e-3


def test_laws_that_do_not_apply_are_left_out() -> None:
    rows = step_law_rows([curves_of(20, own=None), curves_of(step_laws.FEWEST_RUNS - 1)], 5, 0.9, 50, 0)
    assert {(row["law"], row["fitted_until_step"]) for row in rows} == {
        *(("linear", step) for step in STEPS),
        *(("power", step) for step in STEPS[2:]),
    }
    assert {"version", *rows[0]} == set(TABLES["step_laws"].columns)


def test_sixty_four_proxies_and_ten_targets_take_seconds() -> None:
    began = time.process_time()
    rows = step_law_rows([curves_of(64, seed=seed) for seed in range(10)], 5, 0.9, 400, 0)
    assert time.process_time() - began < 10
    assert len(rows) == 10 * (6 + 4 + 4)
