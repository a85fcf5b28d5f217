"""Proxies of two sizes in one study, by the real command; and imported tables of two sizes."""

import csv
import json
import shutil

import duckdb
import numpy as np
import pytest
import yaml

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.assets.schedules import what_to_refit
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.study.file import load_study
from tests.end_to_end.test_changes import proxies, regmix, write

LARGER = {
    "preset": "demo",
    "model": {"context": 32, "layers": 2, "width": 48, "heads": 2, "ffn_width": 96},
    "training": {"tokens": 32_768, "windows_per_step": 16, "learning_rate": 0.02},
    "mixtures": 8,
}


@pytest.fixture(scope="module")
def settings(quick_settings):
    return quick_settings | {
        "mixtures": {"count": 10, "minimum": 0.05, "anchors": {"natural": True}},
        "regression": {"regressors": ["saturation"], "bootstrap": 50, "step_laws": False},
        "proxies": quick_settings["proxies"] | {"noise": {"mixtures": 0}, "sizes": [LARGER]},
        "limits": quick_settings["limits"] | {"target_parameters": 50_000_000},
    }


def larger(folder):
    return {path.name: path.stat().st_mtime_ns for path in sorted((folder / ".regmix/tiny/sizes").glob("p*"))}


def test_the_cost_is_said_before_and_is_what_it_takes(decided):
    folder, said, _ = decided
    row = next(each for each in said["stages"] if each["stage"] == "size_runs")
    assert (row["models"], row["tokens"]) == (8, 8 * 32_768)
    assert said["training_tokens"] == 11 * 16_384 + 8 * 32_768
    assert (len(proxies(folder)), len(larger(folder))) == (11, 8)


def test_the_natural_and_the_best_mixtures_are_trained_again_and_their_losses_are_in_the_ledger(decided):
    folder, _, _ = decided
    with duckdb.connect(str(next(folder.glob(".regmix/tiny/*.duckdb"))), read_only=True) as connection:
        rows = connection.execute(
            "select mixture, parameters, tokens, count(*) from current_size_losses group by all"
        ).fetchall()
        natural = connection.execute("select mixture from current_mixtures where origin = 'natural'").fetchall()[0][0]
        best = connection.execute(
            "select mixture from current_proxy_losses where final and target = 'science' order by loss limit 3"
        ).fetchall()
        scores = connection.execute("select law, used from current_size_scores").fetchall()
    assert len(rows) == 8
    assert {(parameters, tokens, targets) for _, parameters, tokens, targets in rows} == {(95_472, 32_768, 2)}
    assert {natural, *(key for (key,) in best)} <= {mixture for mixture, *_ in rows}
    assert sum(used for _, used in scores) == 1
    assert {law for law, _ in scores} == {"single size", "slopes"}


def test_decision_and_report_say_which_size_they_are_for_and_how_sure_the_choice_is_there(decided):
    folder, _, outcome = decided
    size = outcome["decision"]["size"]
    assert size["target"]["parameters"] == 50_000_000
    assert {row["rival"] for row in size["chances"]} == {"natural", "runner-up"}
    assert all(0 <= row["chance"] <= 1 and row["low"] <= row["gain"] <= row["high"] for row in size["chances"])
    page = next(folder.glob(".regmix/tiny/reports/*.html")).read_text()
    assert "Does the mixture depend on the size of the model?" in page
    assert ("size-path" in page) == size["used"]


def test_by_itself_the_dagster_ui_trains_within_the_budget_alone(decided, tmp_path):
    folder, _, _ = decided
    there = next((folder / ".regmix/tiny/sizes").glob("p*"))
    shutil.move(there, tmp_path / there.name)
    try:
        waits = what_to_refit(Workspace(folder / "tiny.yaml", say=lambda line: None))
    finally:
        shutil.move(tmp_path / there.name, there)
    assert "size_runs: 1 proxy to train, 32,768 tokens" in waits.skip_message


def test_nothing_is_trained_twice_and_what_is_lost_alone_is_made_again(place):
    before = larger(place)
    assert json.loads(regmix(place, "status", "--json"))["training_tokens"] == 0
    lost = next(iter(before))
    shutil.rmtree(place / ".regmix/tiny/sizes" / lost)
    shutil.rmtree(place / ".regmix/tiny/records/current/size_runs")
    said = " ".join(regmix(place, "run").split())
    assert "Larger proxies: " in said
    assert "it beats the runner-up" in said
    after = larger(place)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {lost}


def test_more_mixtures_at_the_larger_size_cost_what_is_not_there_yet(place, settings):
    more = settings["proxies"] | {"sizes": [LARGER | {"mixtures": 11}]}
    write(place, settings | {"proxies": more})
    said = json.loads(regmix(place, "status", "--json"))
    assert said["training_tokens"] == 3 * 32_768


def test_a_study_without_sizes_keeps_every_proxy_and_drops_the_law(place, settings):
    plain = {name: value for name, value in settings["proxies"].items() if name != "sizes"}
    write(place, settings | {"proxies": plain, "limits": {"target_tokens": 400_000, "max_epochs": 4}})
    said = json.loads(regmix(place, "status", "--json"))
    stale = {row["stage"] for row in said["stages"] if row["stale"]}
    assert (said["training_tokens"], "proxy_losses" in stale, "regressor" in stale) == (0, False, True)


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"limits": {"target_tokens": 400_000}}, "limits.target_parameters"),
        ({"limits": {"target_tokens": 400_000, "target_parameters": 1_000}}, "fewer than"),
        ({"sizes": [LARGER | {"model": {"context": 32, "layers": 1, "width": 16, "heads": 1}}]}, "list larger models"),
        ({"sizes": [LARGER | {"mixtures": 3}]}, "greater than or equal to 8"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, settings, changed, remedy):
    sizes = changed.pop("sizes", [LARGER])
    write(tmp_path, settings | {"proxies": settings["proxies"] | {"sizes": sizes}} | changed)
    with pytest.raises(StudyError, match=remedy):
        load_study(tmp_path / "tiny.yaml")


def test_imported_runs_of_two_sizes_are_extrapolated_to_the_size_that_is_asked_for(tmp_path):
    generator = np.random.default_rng(0)
    weights = generator.dirichlet([1.0, 1.0, 1.0], 40)
    teach = np.array([[3.0, 0.3, 0.5], [0.3, 3.0, 0.5]])
    rows = []
    for number, mixture in enumerate(weights):
        for size in (1_000_000, 8_000_000) if number < 14 else (1_000_000,):
            spread = (size / 1e6) ** np.array([-0.25, 0.2])
            losses = 2 + spread * (np.sqrt(mixture + 0.01) @ teach.T) ** -0.8 + generator.normal(0, 0.001, 2)
            rows.append([f"r{number}_{size}", size, *mixture, *losses])
    columns = ["run", "params", "mix_web", "mix_code", "mix_books", "loss_prose", "loss_programs"]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    study = {
        "name": "imported",
        "domains": {name: {"prior": 1.0} for name in ("web", "code", "books")},
        "targets": {"prose": {"weight": 1}, "programs": {"weight": 1}},
        "imports": [
            {
                "mixtures": "runs.csv",
                "losses": "runs.csv",
                "domain_columns": ["mix_*"],
                "target_columns": ["loss_*"],
                "columns": {"parameters": "params"},
            }
        ],
        "regression": {"regressors": ["saturation", "gaussian_process"], "bootstrap": 50, "extrapolation": "off"},
        "limits": {"target_parameters": 1_000_000_000},
    }
    (tmp_path / "imported.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    run_stale(Workspace(tmp_path / "imported.yaml", tmp_path / "home", say=lambda line: None))
    workspace = Workspace(tmp_path / "imported.yaml", tmp_path / "home", say=lambda line: None)
    decision = find_decision(workspace)
    assert decision["size"]["used"]
    assert decision["size"]["spread"]["prose"] < 0.5 < 2 < decision["size"]["spread"]["programs"]
    # In the larger model programs spread so much more that nearly all is for them.
    assert decision["mixture"]["weights"]["code"] > decision["size"]["path"][0]["weights"]["code"] + 0.1
    assert 'id="size-path"' in next(tmp_path.glob("home/reports/*.html")).read_text()
