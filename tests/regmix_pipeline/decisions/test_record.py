"""The record of a decision: what it names, what it was compared with, and how it is found again."""

import pytest
import yaml

from regmix_pipeline.assets.graph import OBSERVED
from regmix_pipeline.decisions.find import decisions, find_decision
from regmix_pipeline.decisions.record import decision_id, sealed
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.stages import STAGES

HAND = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}
"""The mixture made by hand that the study's second decision was compared with."""


def test_the_record_names_everything_upstream_and_seals_it(workspace):
    record = find_decision(workspace)
    assets = {place.split("/")[0] for place in record["versions"]}
    assert {"documents", "tokenizer", "token_shards", "mixtures", "proxy_checkpoints", "proxy_losses"} <= assets
    assert {"regressor", "optimal_mixture"} <= assets
    assert decision_id(record) == record["decision"]
    assert sealed(record) == record
    run_of = {place: run for run, places in record["runs"].items() for place in places}
    assert set(run_of) == set(record["versions"])
    # The command observes by itself; everything else is made by a run of Dagster.
    observed = {place for place in run_of if place.split("/")[0] in OBSERVED}
    assert observed == {place for place, run in run_of.items() if not run}
    assert record["triggered"]["through"] == "regmix"
    assert record["triggered"]["why"].split(":")[0] in {stage.name for stage in STAGES}
    evidence = record["regression"]["science"]
    assert evidence["regressor"] == record["regressors"]["science"]
    assert abs(sum(evidence["blend"].values()) - 1) < 1e-9
    assert set(evidence["hyperparameters"]) == {name for name, share in evidence["blend"].items() if share}
    assert -1 <= evidence["scores"]["spearman (random folds)"]["value"] <= 1


def test_alternatives_given_and_previous_are_predicted_beside_the_chosen_one(workspace):
    first, second = decisions(workspace)
    assert second["previous"] == first["decision"]
    assert first["previous"] is None
    assert second["alternatives"]["previous"]["weights"] == first["mixture"]["weights"]
    assert second["alternatives"]["by_hand"]["weights"] == HAND
    predicted = {row["name"]: row for row in second["predictions"] if row["target"] == "objective"}
    assert set(predicted) == {"chosen", "natural", "uniform", "best_observed", "previous", "by_hand"}
    for row in predicted.values():
        assert row["low"] < row["predicted"] < row["high"]
        assert row["predicted"] >= predicted["chosen"]["predicted"] - 1e-6 or row["name"] in (
            "previous",
            "best_observed",
        )
    for name, one in second["alternatives"].items():
        assert one["mixture"] == predicted[name]["mixture"], name
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute("select distinct name from current_predictions").fetchall()
    assert {name for (name,) in rows} == set(predicted)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"chosen": HAND}, "every decision has a mixture of that name"),
        ({"by_hand": {"code": 20, "licences": 80}}, "shares, not percent"),
        ({"by_hand": {"code": -0.1, "licences": 1.1}}, "not be negative"),
        ({"by_hand": {"code": 0.5, "poems": 0.5}}, "poems"),
    ],
)
def test_impossible_alternatives_are_refused(study_file, given, problem):
    settings = yaml.safe_load(study_file.read_text())
    study_file.write_text(yaml.safe_dump(settings | {"alternatives": given}))
    with pytest.raises(StudyError, match=problem):
        Workspace(study_file)


def test_decisions_are_found_by_start_of_id_and_place_in_time(workspace):
    first, second = (record["decision"] for record in decisions(workspace))
    assert find_decision(workspace)["decision"] == second
    assert find_decision(workspace, "previous")["decision"] == first
    assert find_decision(workspace, first[:8])["decision"] == first
    with pytest.raises(LedgerError, match="several decisions start"):
        find_decision(workspace, "d")
    with pytest.raises(LedgerError, match="no decision starts"):
        find_decision(workspace, "x")


def test_going_back_to_a_decision_makes_the_other_one_the_previous(reopened, decide):
    workspace = reopened
    file = workspace().study_file
    settings = yaml.safe_load(file.read_text())
    first = find_decision(workspace())["decision"]
    decide(file.parent, settings | {"alternatives": {"other": HAND}})
    second = find_decision(workspace())["decision"]
    assert second != first
    decide(file.parent, settings)
    assert find_decision(workspace())["decision"] == first
    assert find_decision(workspace(), "previous")["decision"] == second


def test_without_a_current_decision_the_others_are_named(workspace):
    name = find_decision(workspace)["decision"]
    workspace.withdraw("mixture_decision")
    with pytest.raises(LedgerError, match=name):
        find_decision(workspace)
