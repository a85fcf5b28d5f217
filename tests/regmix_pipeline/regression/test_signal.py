"""Noisy targets are flagged and count less; clean ones are left alone."""

import numpy as np
import pytest

from regmix_pipeline.proxies.noise import NoiseFloor
from regmix_pipeline.regression.signal import noise_rows, weighed_objective, with_errors
from regmix_pipeline.study.settings.proxies import NoiseSettings

TARGETS = ["clean", "noisy", "luck"]
SETTINGS = NoiseSettings()


def floor():
    noise = np.array([0.01, 0.01, 0.01])
    return NoiseFloor(8, 2, noise, 0.7 * noise, 1.6 * noise, noise, np.array([0.5, 0.01, 0.0]))


def test_rows_say_what_is_known():
    rows = noise_rows(floor(), TARGETS, SETTINGS)
    assert [row["flagged"] for row in rows] == [False, True, True]
    assert [round(row["signal_to_noise"], 6) for row in rows] == [50, 1, 0]
    assert rows[1]["reliability"] == pytest.approx(0.5)
    assert noise_rows(None, TARGETS, SETTINGS) == []


def test_a_flagged_target_counts_by_its_reliability():
    rows = noise_rows(floor(), TARGETS, SETTINGS)
    objective, sentences = weighed_objective({"clean": 0.5, "noisy": 0.5}, rows, SETTINGS)
    assert objective == pytest.approx({"clean": 2 / 3, "noisy": 1 / 3})
    assert sentences == [
        "noisy: mixtures differ by 1.0 times the noise between seeds only; it counts 33% instead of 50%; "
        "give it more items or windows, train longer proxies, or lower its weight"
    ]
    assert weighed_objective({"clean": 1.0}, rows, SETTINGS) == ({"clean": 1.0}, [])


def test_an_objective_of_luck_alone_stays_and_is_flagged():
    objective, sentences = weighed_objective({"luck": 1.0}, noise_rows(floor(), TARGETS, SETTINGS), SETTINGS)
    assert objective == {"luck": 1.0}
    assert len(sentences) == 1


def test_downweighting_can_be_turned_off():
    rows = noise_rows(floor(), TARGETS, SETTINGS)
    asked = {"clean": 0.5, "noisy": 0.5}
    objective, sentences = weighed_objective(asked, rows, SETTINGS.model_copy(update={"downweight": False}))
    assert objective == asked
    assert "instead" not in sentences[0]


LOSSES = np.array([[1.0, 2.0, 3.0], [2.0, 2.1, 3.0], [3.0, 2.2, 3.1]])


def test_errors_over_items_flag_what_seeds_do_not_and_lower_no_weight():
    errors = np.array([0.1, 0.1, 1.0])
    rows = with_errors(noise_rows(floor(), TARGETS, SETTINGS), TARGETS, LOSSES, errors, 1.5)
    assert [row["flagged"] for row in rows] == [False, True, True]
    assert [row["spread_to_error"] for row in rows] == pytest.approx([10, 1, 0.0577], rel=1e-3)
    alone = with_errors([], TARGETS, LOSSES, errors, 0.5)
    assert [row["flagged"] for row in alone] == [False, False, True]
    assert alone[0]["signal_to_noise"] is None
    asked = {"clean": 0.5, "luck": 0.5}
    objective, (sentence,) = weighed_objective(asked, alone, SETTINGS)
    assert objective == asked
    assert sentence.startswith(
        "luck: mixtures differ by 0.1 times the standard error over its items or windows only; give"
    )


def test_targets_of_unknown_errors_have_no_row_without_seeds():
    rows = with_errors([], TARGETS, LOSSES, np.array([0.1, np.nan, 0.1]), 0.5)
    assert [row["target"] for row in rows] == ["clean", "luck"]
    known = with_errors(noise_rows(floor(), TARGETS, SETTINGS), TARGETS, LOSSES, np.full(3, np.nan), 0.5)
    assert [row["spread_to_error"] for row in known] == [None] * 3
    assert [row["flagged"] for row in known] == [False, True, True]


def test_all_targets_can_be_weighed_by_their_signal():
    by_signal = NoiseSettings(weight_by_signal=True)
    rows = with_errors([], TARGETS, LOSSES, np.array([0.5, 0.1, 0.5]), 0.5)
    objective, _ = weighed_objective({"clean": 0.4, "noisy": 0.4, "luck": 0.2}, rows, by_signal)
    # Signal is what is left of the variance without that of the errors: 3/4 of clean's, none of the others'.
    assert objective == pytest.approx({"clean": 1.0, "noisy": 0.0, "luck": 0.0})
    seeds = noise_rows(floor(), TARGETS, NoiseSettings(flag_below=0))
    objective, sentences = weighed_objective({"clean": 0.5, "noisy": 0.5}, seeds, by_signal)
    assert objective["clean"] > 0.6
    assert sentences == []
