"""Noisy targets are flagged and count less; clean ones are left alone."""

import numpy as np
import pytest

from regmix_pipeline.proxies.noise import NoiseFloor
from regmix_pipeline.regression.signal import noise_rows, weighed_objective
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
        "noisy: mixtures differ by 1.0 times the noise between seeds only; it counts 33% instead of 50%"
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
