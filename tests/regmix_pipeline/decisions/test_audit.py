"""A decision's record, what people say of it, and the audit that notices whatever was altered afterwards."""

import json
import shutil

import pytest
import yaml

from assets.runner import run_stale
from regmix_pipeline.decisions.audit import audit_of, holds
from regmix_pipeline.decisions.find import decisions, find_decision
from regmix_pipeline.decisions.record import decision_id, sealed
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.decisions.verdicts import altered, need_approval, say_of, standing_of, verdicts_of
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.stages import STAGES

UNTIL_DECISION = STAGES[: STAGES.index(MIXTURE_DECISION) + 1]
HAND = {"code": 0.2, "licences": 0.3, "descriptions": 0.5}


@pytest.fixture(scope="module")
def decided(real_text, tiny_settings, tmp_path_factory):
    """A tiny study with two decisions: the second under a tighter cap, with a mixture made by hand to compare with."""
    folder = tmp_path_factory.mktemp("audit")
    shutil.copytree(real_text, folder / "text")
    settings = {name: value for name, value in tiny_settings.items() if name != "confirmation"} | {
        "regression": {"regressors": ["linear", "saturation"]},
        "search": {"method": "optimiser"},
    }
    for more in ({}, {"alternatives": {"by_hand": HAND}, "limits": {"target_tokens": 500_000, "max_epochs": 4}}):
        (folder / "tiny.yaml").write_text(yaml.safe_dump(settings | more, sort_keys=False))
        run_stale(Lab(folder / "tiny.yaml", folder / "home", say=lambda line: None), UNTIL_DECISION)
    return folder


@pytest.fixture
def lab(decided, tmp_path):
    """A copy of the study that a test may spoil."""
    shutil.copytree(decided, tmp_path / "study")
    return Lab(tmp_path / "study" / "tiny.yaml", tmp_path / "study" / "home", say=lambda line: None)


def differences(lab, **options):
    found = audit_of(lab, **options)
    return {(each["place"].split("@")[0], each["kind"]) for link in found["chain"] for each in link["differences"]}


def test_the_record_names_everything_upstream_and_seals_it(lab):
    record = find_decision(lab)
    assets = {place.split("/")[0] for place in record["versions"]}
    assert {"documents", "tokenizer", "token_shards", "mixtures", "proxy_checkpoints", "proxy_losses"} <= assets
    assert {"regressor", "optimal_mixture"} <= assets
    assert decision_id(record) == record["decision"]
    assert sealed(record) == record
    run_of = {place: run for run, places in record["runs"].items() for place in places}
    assert set(run_of) == set(record["versions"])
    assert all(run_of.values())
    assert record["triggered"]["through"] == "regmix"
    assert "changed" in record["triggered"]["why"]
    evidence = record["regression"]["science"]
    assert evidence["regressor"] == record["regressors"]["science"]
    assert abs(sum(evidence["blend"].values()) - 1) < 1e-9
    assert set(evidence["hyperparameters"]) == {name for name, share in evidence["blend"].items() if share}
    assert -1 <= evidence["scores"]["spearman (random folds)"]["value"] <= 1


def test_alternatives_given_and_previous_are_predicted_beside_the_chosen_one(lab):
    first, second = decisions(lab)
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
    with read_ledger(lab.ledger) as connection:
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
        Lab(study_file)


def test_decisions_are_found_by_start_of_id_and_place_in_time(lab):
    first, second = (record["decision"] for record in decisions(lab))
    assert find_decision(lab)["decision"] == second
    assert find_decision(lab, "previous")["decision"] == first
    assert find_decision(lab, first[:8])["decision"] == first
    with pytest.raises(LedgerError, match="several decisions start"):
        find_decision(lab, "d")
    with pytest.raises(LedgerError, match="no decision starts"):
        find_decision(lab, "x")


def test_a_decision_whose_file_is_gone_is_told_from_the_ledger_alone(lab):
    record = find_decision(lab)
    shutil.rmtree(lab.path("decisions"))
    assert find_decision(lab, record["decision"]) == record
    assert differences(lab) == {(record["decision"], "gone")}


def test_an_untouched_chain_holds_and_counts_what_it_looked_at(lab):
    found = audit_of(lab)
    assert holds(found)
    assert differences(lab) == set()
    assert sum(link["things"] for link in found["chain"]) == len(find_decision(lab)["versions"]) + 1
    assert all(link["unsummed"] == 0 for link in found["chain"])
    assert holds(audit_of(lab, "previous"))
    json.dumps(found, allow_nan=False)


def spoil(path):
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("asset", ["regressor", "optimal_mixture", "proxy_losses", "mixtures", "tokenizer"])
def test_an_altered_artefact_is_named(lab, asset):
    key = lab.records.keys(asset)[0]
    spoil(lab.home / lab.records.current(asset, key).files[0])
    assert differences(lab) == {(f"{asset}/{key}", "altered")}


@pytest.mark.parametrize(
    ("pattern", "asset"),
    [("shards/*/*/train.ds", "token_shards"), ("proxies/p*/model.safetensors", "proxy_checkpoints")],
)
def test_altered_tokens_and_weights_are_named_unless_contents_are_left_out(lab, pattern, asset):
    wanted = find_decision(lab)["versions"]
    path = next(
        path
        for path in sorted(lab.home.glob(pattern))
        if path.parent.name in json.dumps(wanted) or asset != "token_shards"
    )
    spoil(path)
    assert {(place.split("/")[0], kind) for place, kind in differences(lab)} == {(asset, "altered")}
    assert differences(lab, contents=False) == set()


def test_a_part_of_a_ledger_table_is_under_the_record_s_checksums(lab):
    record = lab.records.current("regressor")
    part = lab.path("tables", "regressor_scores", f"{record.version}.parquet")
    spoil(part)
    assert differences(lab) == {("regressor/all", "altered")}


def test_an_altered_record_and_a_missing_one_are_named(lab):
    record = lab.records.current("proxy_losses", lab.records.keys("proxy_losses")[0])
    path = next(lab.path("records", "history", record.asset, record.key).glob("*.json"))
    write_json(path, read_json(path) | {"settings": {"windows": 1}})
    assert differences(lab) == {(f"proxy_losses/{record.key}", "altered")}
    path.unlink()
    assert differences(lab) == {(f"proxy_losses/{record.key}", "gone")}


def test_a_retouched_decision_is_seen_through(lab):
    record = find_decision(lab)
    path = lab.path("decisions", record["decision"], "decision.json")
    retouched = sealed(record | {"gain": record["gain"] | {"predicted": 9.0}})
    write_json(path, retouched)
    assert differences(lab) == {(record["decision"], "altered")}
    assert len([each for link in audit_of(lab)["chain"] for each in link["differences"]]) == 2  # its id, and the ledger


def test_other_text_in_a_source_is_reported_and_is_no_fault(lab):
    source = lab.base / "text" / "code.jsonl"
    source.write_text(source.read_text() + json.dumps({"id": "new", "text": "x" * 300}) + "\n")
    assert differences(lab) == {("documents/code", "changed since")}
    assert holds(audit_of(lab))


def test_verdicts_add_up_and_the_last_word_counts(lab):
    record = find_decision(lab)
    name = record["decision"]
    with pytest.raises(LedgerError, match="was not approved yet"):
        need_approval(lab, name)
    say_of(lab, record, "approved", "looks right", "ada", "regmix")
    need_approval(lab, name)
    say_of(lab, record, "rejected", "code is licensed", "bob", "regmix")
    with pytest.raises(LedgerError, match="rejected by bob: code is licensed"):
        need_approval(lab, name)
    assert standing_of(lab, name) == "rejected"
    assert [verdict.by for verdict in verdicts_of(lab, name)] == ["ada", "bob"]
    assert altered(lab, name) == []
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute('select said, "by", reason from verdicts order by number').fetchall()
    assert rows == [("approved", "ada", "looks right"), ("rejected", "bob", "code is licensed")]
    with pytest.raises(LedgerError, match="needs a reason"):
        say_of(lab, record, "approved", " ", "ada", "regmix")


def test_a_verdict_taken_out_or_changed_is_noticed_and_nothing_is_added_to_it(lab):
    record = find_decision(lab)
    name = record["decision"]
    for number in range(3):
        say_of(lab, record, "approved", f"reason {number}", "ada", "regmix")
    folder = lab.path("decisions", name, "verdicts")
    second = read_json(folder / "0002.json")
    write_json(folder / "0002.json", second | {"reason": "another"})
    assert (name, "altered") in differences(lab)
    with pytest.raises(LedgerError, match="changed after it was given"):
        say_of(lab, record, "rejected", "no", "bob", "regmix")
    (folder / "0002.json").unlink()
    assert any("does not follow" in what for what in altered(lab, name))
