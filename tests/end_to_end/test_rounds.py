"""A study in rounds, by the real command: each is chosen by what those before taught, and nothing is done twice."""

import json

import pytest

from regmix_pipeline.engine.workspace import Workspace
from tests.end_to_end.test_changes import proxies, regmix, write


@pytest.fixture(scope="module")
def settings(tiny_settings):
    return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "mixtures": {"count": 20, "minimum": 0.02, "anchors": {"natural": True}, "rounds": {"number": 3, "first": 0.8}},
        "regression": {"regressors": ["exponential", "gaussian_process"], "bootstrap": 50},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
        "tracking": {"to": ["tensorboard"]},
    }


def rounds(folder):
    """Round -> mixtures listed for it."""
    listed = Workspace(folder / "tiny.yaml", say=lambda line: None).json("mixtures")["mixtures"]
    found = {}
    for entry in listed:
        found.setdefault(entry["round"], set()).add(entry["id"])
    return found


def test_the_price_of_all_rounds_is_said_before_and_is_what_they_take(decided):
    folder, said, _ = decided
    assert said["later_rounds"] == {"rounds": 2, "mixtures": 4, "models": 4, "tokens": 4 * 16_384, "at_most": False}
    assert said["training_tokens"] == 21 * 16_384 == len(proxies(folder)) * 16_384


def test_the_proxies_of_all_rounds_are_with_the_tracker(decided):
    home = decided[0] / ".regmix" / "tiny"
    trained = {path.name for path in (home / "proxies").glob("p*")}
    assert len(trained) == 21
    assert {path.parent.name for path in home.glob("tensorboard/tiny/p*/events*")} == trained
    assert {path.stem for path in home.glob("tracking/tensorboard/*.json")} == trained
    assert not list((home / "proxies").glob(".*.steps.jsonl*"))


def test_every_round_is_visible_with_what_it_promised_and_what_it_brought(decided):
    folder, _, outcome = decided
    assert {number: len(keys) for number, keys in rounds(folder).items()} == {1: 16, 2: 2, 3: 2, None: 1}
    first, *later = outcome["decision"]["rounds"]
    assert (first["mixtures"], first["measured"], first["expected"]) == (16, 16, None)
    for row in later:
        assert row["measured"] == row["mixtures"] == 2
        assert row["best"] <= row["mean"]
        assert row["expected"]["predicted"] <= row["expected"]["predicted_natural"]
    assert "measured" in outcome["decision"]["summary"]
    assert not any("round" in flag for flag in outcome["decision"]["flags"])
    by_hand = regmix(folder, "status")
    assert "would make nothing" in by_hand


def test_text_that_was_just_written_is_not_called_stale_between_the_rounds(decided):
    failed = [check for row in decided[2]["made"] for check in row["failed_checks"]]
    assert not [check for check in failed if check.startswith("up_to_date")]


def test_running_again_trains_and_decides_nothing(place):
    before = proxies(place)
    outcome = json.loads(regmix(place, "run", "--json"))
    assert outcome["made"] == []
    assert proxies(place) == before


@pytest.mark.kills
def test_killed_between_rounds_and_inside_one_it_ends_with_the_same_bits(decided, study_in, tmp_path):
    study = study_in(decided[0], ".regmix/tiny").without_home(tmp_path / "killed")
    # The next mixtures are asked for and none of them is trained; then some of them are.
    for moment in (r"round 2 of 3 .* asked for", r"proxy_checkpoints +1/2 "):
        command = study.start().says(moment)
        command.kill()
        command.gone()
    study.does("run")
    assert study.contents() == study_in(decided[0], ".regmix/tiny").contents()
    study.does("audit")


@pytest.mark.slow
def test_a_larger_count_goes_on_with_rounds_and_a_smaller_one_trains_nothing(place, settings):
    before, listed = proxies(place), rounds(place)
    write(place, settings | {"mixtures": settings["mixtures"] | {"count": 23}})
    said = json.loads(regmix(place, "status", "--json"))
    assert said["training_tokens"] == 3 * 16_384
    regmix(place, "run")
    assert len(proxies(place) - before) == 3
    assert set.union(*listed.values()) < set.union(*rounds(place).values())
    write(place, settings)
    assert json.loads(regmix(place, "status", "--json"))["training_tokens"] == 0
    # What was trained stays evidence, as of earlier runs.
    outcome = json.loads(regmix(place, "run", "--json"))
    assert rounds(place) == listed
    assert "optimal_mixture" in {row["stage"] for row in outcome["made"]}
    assert len(proxies(place) - before) == 3


def test_one_round_samples_all_at_once(place, settings):
    write(place, settings | {"mixtures": settings["mixtures"] | {"rounds": {"number": 1}}})
    said = json.loads(regmix(place, "status", "--json"))
    # The sampled ones stay; those that were chosen make room for sampled ones.
    assert (said["later_rounds"]["rounds"], said["training_tokens"]) == (0, 4 * 16_384)


@pytest.mark.slow
def test_a_budget_holds_back_a_round(place, settings):
    write(place, settings | {"mixtures": settings["mixtures"] | {"count": 26}})
    outcome = json.loads(regmix(place, "refit", "--max-new-tokens", str(2 * 16_384), "--json"))
    decision = outcome["decision"]
    assert sum(row["mixtures"] for row in decision["rounds"]) == 22
    assert any("round" in flag for flag in decision["flags"])
    assert sum(row["mixtures"] for row in json.loads(regmix(place, "run", "--json"))["decision"]["rounds"]) == 26
