"""Epochs of a domain of its own, on a study that was really run: what they change, what they cost, and who says so."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.decisions.explain.explanation import explanation_of
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError

REASON = "a second look at descriptions helped the run before"
UNIFORM, OWN = range(2)


@pytest.fixture(scope="module")
def decided(decided_study, quick_settings, decide, tmp_path_factory):
    """A study decided under 1.2 epochs for all, then with 1.8 of descriptions; its folder, decisions and proxies."""
    folder = tmp_path_factory.mktemp("epochs") / "study"
    shutil.copytree(decided_study, folder)
    settings = quick_settings | {"limits": {"target_tokens": 500_000, "max_epochs": 1.2}}
    domains = settings["domains"]
    own = domains["descriptions"] | {"max_epochs": 1.8, "max_epochs_reason": REASON}
    found = []
    for changed in (settings, settings | {"domains": domains | {"descriptions": own}}):
        record = find_decision(decide(folder, changed))
        trained = {path.parent.name for path in (folder / "home" / "proxies").glob("p*/proxy.json")}
        found.append((record, trained))
    return folder, found


@pytest.fixture
def workspace(decided):
    return Workspace(decided[0] / "tiny.yaml", decided[0] / "home", say=lambda line: None)


def row_of(record):
    return next(row for row in record["domains"] if row["domain"] == "descriptions")


def command(folder, *words):
    done = CliRunner().invoke(app, [*words, "--study", str(folder / "tiny.yaml"), "--home", str(folder / "home")])
    return done.exit_code, done.stdout + (done.stderr if done.exit_code else "")


def test_only_the_search_follows_a_domains_epochs(decided):
    (before, trained), (after, still) = decided[1]
    assert trained == still
    assert before["versions"]["mixtures/all"] == after["versions"]["mixtures/all"]
    assert row_of(before)["epochs"] == pytest.approx(1.2, abs=0.01)
    assert 1.2 < row_of(after)["epochs"] <= 1.8 + 1e-3
    others = [row["cap"] for record in (before, after) for row in record["domains"] if row["domain"] != "descriptions"]
    assert others[:2] == others[2:]


def test_the_decision_says_who_limits_each_domain_and_why(decided):
    record = decided[1][OWN][0]
    assert record["repetition"]["descriptions"] == {
        "max_epochs": 1.8,
        "set_by": "domains.descriptions.max_epochs",
        "reason": REASON,
    }
    assert record["repetition"]["code"] == {"max_epochs": 1.2, "set_by": "limits.max_epochs", "reason": ""}
    assert record["limits"] == {"target_tokens": 500_000, "max_epochs": 1.2}


def test_what_a_cap_costs_is_what_the_next_search_gains(decided):
    (before, _), (after, _) = decided[1]
    price = next(row for row in before["shadow_prices"] if row["domain"] == "descriptions")
    assert price["epochs"] == pytest.approx(1.2, abs=1e-3)
    # Half as much again is what the second decision was allowed.
    assert price["further"]["epochs"] == pytest.approx(1.8, abs=1e-3)
    chosen = [
        next(row["predicted"] for row in each["predictions"] if (row["name"], row["target"]) == ("chosen", "objective"))
        for each in (before, after)
    ]
    assert price["further"]["gain"] == pytest.approx(chosen[0] - chosen[1], abs=2e-3)
    assert price["further"]["gain"] > 0


def test_explain_says_what_more_epochs_would_gain(decided, workspace):
    before = decided[1][UNIFORM][0]["decision"]
    said = explanation_of(workspace, "descriptions", before)
    gain = said["shadow_price"]["further"]["gain"]
    assert f"At 1.8 epochs instead of 1.2 the predicted gain is +{gain:.4f}" in said["answer"]
    asked = explanation_of(workspace, "descriptions", before, 1.5)
    assert 0 < asked["at_epochs"]["gain"] <= gain + 1e-6
    assert "At 1.5 epochs instead of 1.2 the predicted gain is +" in asked["answer"]
    fewer = explanation_of(workspace, "descriptions", before, 1.0)
    assert fewer["at_epochs"]["gain"] < 0
    with pytest.raises(MixtureError, match=r"descriptions.*floor"):
        explanation_of(workspace, "descriptions", before, 0.9)
    own = explanation_of(workspace, "descriptions")
    assert own["max_epochs"]["reason"] == REASON
    assert REASON in own["cap_from"]
    with pytest.raises(MixtureError, match="0 is not above 0"):
        explanation_of(workspace, "descriptions", None, 0.0)


def test_the_reason_is_shown_wherever_the_decision_is(decided):
    folder = decided[0]
    status, said = command(folder, "audit", "--no-contents")
    assert status == 0
    assert f"descriptions may be seen 1.8 times (domains.descriptions.max_epochs): {REASON}" in said.replace("\n", " ")
    status, said = command(folder, "diff", "--json")
    assert status == 0
    changed = {row["what"]: row for row in json.loads(said)["inputs"]["limits"]}
    assert changed["descriptions.max_epochs"]["after"] == 1.8
    assert changed["descriptions.reason of max_epochs"]["after"] == REASON


def test_status_says_beforehand_that_other_epochs_train_nothing(decided):
    folder = decided[0]
    status, said = command(folder, "status", "--change", "domains.descriptions.max_epochs=3", "--json")
    assert status == 0
    found = json.loads(said)
    assert found["training_tokens"] == 0
    stale = {row["stage"] for row in found["stages"] if row["stale"]}
    assert {"domain_inventory", "optimal_mixture", "mixture_decision"} <= stale
    assert not stale & {"token_shards", "proxy_checkpoints", "proxy_losses"}
    status, said = command(folder, "status", "--change", "domains.descriptions.max_epochs=0", "--json")
    assert status == 1
    assert "domains.descriptions.max_epochs" in said


def test_a_blend_and_an_export_keep_the_domains_own_epochs(decided, tmp_path):
    folder, found = decided
    weights = found[OWN][0]["mixture"]["weights"]
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps(weights))
    # The status tells whether the search's answer is far from what was measured, which is not asked here.
    _, said = command(folder, "audit-blend", str(blend), "--json")
    rows = {row["name"]: row for row in json.JSONDecoder().raw_decode(said)[0]["sources"]}
    assert rows["descriptions"]["max_epochs"] == 1.8
    assert rows["code"]["max_epochs"] == 1.2
    status, said = command(
        folder, "export", "--format", "olmo-core", "--out", str(tmp_path / "mix.yaml"), "--unapproved", "--json"
    )
    assert status == 0, said
    sources = yaml.safe_load((tmp_path / "mix.yaml").read_text())["sources"]
    assert {one["source_name"]: one["max_repetition_ratio"] for one in sources} == {
        name: 1.8 if name == "descriptions" else 1.2 for name in weights
    }
    status, said = command(
        folder,
        "export",
        "--format",
        "olmo-core",
        "--out",
        str(tmp_path / "no.yaml"),
        "--unapproved",
        "--tokens",
        "10000000",
    )
    assert status == 1
    assert "epochs break the cap of" in said
    assert not (tmp_path / "no.yaml").exists()
