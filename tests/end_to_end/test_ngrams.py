"""N-gram counts in a study, by the real command: trusted, they end its rounds early; not trusted, rounds go on."""

import csv
import json
import shutil

import pytest

from regmix_pipeline.regression.fitted import FittedRegressor
from tests.end_to_end.test_changes import proxies, regmix, write
from tests.end_to_end.test_rounds import rounds


@pytest.fixture(scope="module")
def settings(tiny_settings):
    def of(rank):
        return {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
            "mixtures": {"count": 24, "minimum": 0.02, "anchors": {"natural": True}}
            | {"rounds": {"number": 2, "pilots": 8, "trusted": 2}},
            "regression": {"regressors": ["saturation", "ngrams", "ngrams_process"]}
            | {"bootstrap": 50, "trust": {"pilots": 8, "rank": rank, "error": 1.0}},
            "targets": {"science": tiny_settings["targets"]["science"] | {"weight": 0}, "code": {"weight": 1}},
            "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
        }

    return of


@pytest.fixture(scope="module")
def trusted(real_text, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trusted")
    shutil.copytree(real_text, folder / "text")
    write(folder, settings(0.5))
    return folder, json.loads(regmix(folder, "status", "--json")), json.loads(regmix(folder, "run", "--json"))


def test_trusted_counts_end_the_rounds_and_the_decision_says_how_far_it_relies_on_them(trusted):
    folder, before, outcome = trusted
    assert before["later_rounds"]["mixtures"] == 16
    assert before["later_rounds"]["at_most"]
    assert {number: len(keys) for number, keys in rounds(folder).items()} == {1: 8, 2: 2, None: 1}
    assert len(proxies(folder)) == 11
    decision = outcome["decision"]
    assert decision["ngrams"]["trusted"]
    assert 0 <= decision["ngrams"]["share"] <= 1
    assert "14 of the study's 24 mixtures are not trained" in decision["ngrams"]["ended"]
    assert not any("are not chosen yet" in flag for flag in decision["flags"])
    assert "would make nothing" in regmix(folder, "status")
    assert json.loads(regmix(folder, "run", "--json"))["made"] == []


@pytest.mark.slow
def test_counts_that_are_not_trusted_any_more_let_the_rounds_go_on(trusted, settings, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(trusted[0], folder)
    write(folder, settings(1.0))
    outcome = json.loads(regmix(folder, "run", "--json"))
    found = {number: len(keys) for number, keys in rounds(folder).items()}
    assert sum(size for number, size in found.items() if number) == 24
    assert not outcome["decision"]["ngrams"]["trusted"]
    assert outcome["decision"]["ngrams"]["share"] == 0
    assert proxies(trusted[0]) < proxies(folder)


def test_imported_runs_are_judged_by_counts_of_the_study_s_text(trusted, settings, tmp_path):
    kept = max(
        (trusted[0] / ".regmix" / "tiny" / "regressors").glob("*/regressor.json"),
        key=lambda path: path.stat().st_mtime_ns,
    )
    fitted = FittedRegressor.load(kept.parent)
    shutil.copytree(trusted[0] / "text", tmp_path / "text")
    for name, columns, rows in (
        ("weights", fitted.domains, fitted.weights),
        ("losses", fitted.targets, fitted.losses),
    ):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("run", *columns), *((number, *row) for number, row in enumerate(rows))])
    study = settings(0.5)
    study["regression"] |= {"regressors": ["saturation", "ngrams_process"]}
    study["mixtures"] = {"count": 0, "anchors": {"natural": False}}
    write(tmp_path, study | {"imports": [{"mixtures": "weights.csv", "losses": "losses.csv"}]})
    assert "nothing to train" in regmix(tmp_path, "plan")
    outcome = json.loads(regmix(tmp_path, "run", "--json"))
    assert outcome["decision"]["ngrams"]["trusted"]
    assert not proxies(tmp_path)
