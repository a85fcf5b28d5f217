"""A study whose domains come, go, split and are revised: nothing that was paid for is trained again."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from regmix_pipeline import checks
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.earlier_stage import earlier_runs
from regmix_pipeline.regression.training_data import loss_table
from regmix_pipeline.search import acquisition
from regmix_pipeline.search.acquisition import Acquisition
from regmix_pipeline.search.further import FURTHER_MIXTURES, adopt_proposals, stability
from regmix_pipeline.stages import up_to

EACH = 16_384


@pytest.fixture
def place(study_file, change_study, tmp_path):
    """A study of two domains that a third one will join, and a function that brings it up to date."""
    change_study(
        {
            "mixtures.count": 10,
            "mixtures.arrivals": 3,
            "proxies.noise": {"mixtures": 0},
            "confirmation": None,
            "limits": None,
            "domains.descriptions": None,
            "regression": {"regressors": ["linear", "saturation"], "bootstrap": 50},
        }
    )

    def up_to_date(changes=None):
        change_study(changes or {})
        workspace = Workspace(study_file, tmp_path / "home", say=lambda line: None)
        before = trained(workspace)
        for stage in up_to(MIXTURE_DECISION):
            for one in workspace.materialise(stage):
                assert one.error is None, one.error
        return Workspace(study_file, tmp_path / "home", say=lambda line: None), trained(workspace) - before

    return up_to_date


def trained(workspace):
    return {path.parent.name for path in workspace.path("proxies").glob("p*/proxy.json")}


def rows(workspace, sql):
    with read_ledger(workspace.ledger) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.slow
def test_domains_that_come_split_are_revised_and_go(place, study_file):
    workspace, new = place()
    assert len(new) == 11  # ten sampled, and the natural one
    first = trained(workspace)

    # Arrival: the ten stay, three are drawn on the new face, the natural mixture is another one now.
    workspace, new = place({"domains.descriptions": {"source": {"jsonl": "text/descriptions.jsonl"}}})
    assert len(new) == 4
    assert first <= trained(workspace)
    origins = dict(rows(workspace, "select origin, count(distinct mixture) from current_mixtures group by origin"))
    assert origins == {"sampled": 10, "arrival": 3, "natural": 1, "earlier": 1}
    heaviest = rows(workspace, "select weight from current_mixtures where origin='arrival' and domain='descriptions'")
    assert len({round(weight, 3) for (weight,) in heaviest}) == 3
    table = loss_table(workspace)
    assert (len(table.mixtures), table.domains) == (15, ["code", "licences", "descriptions"])
    assert not any(workspace.stale(stage) for stage in up_to(MIXTURE_DECISION))

    # Revision: the domain's documents grow; with the word nothing is trained, and rows name the old shards.
    text = study_file.parent / "text" / "descriptions.jsonl"
    old = workspace.need("token_shards", "descriptions").version
    with text.open("a") as file:
        file.write(json.dumps({"id": "more", "text": "a new document " * 40}) + "\n")
    workspace, new = place({"changes": [{"revise": "descriptions"}]})
    natural = len(new)  # the prior moves with the tokens
    assert natural <= 1
    assert workspace.need("token_shards", "descriptions").version != old
    versions = rows(workspace, "select distinct shard_version from current_proxies where domain = 'descriptions'")
    assert (old,) in versions

    # A split: every earlier run on the whole reads as its parts, and three new ones separate the parts.
    lines = text.read_text().splitlines(keepends=True)
    for name, part in (("short", lines[::2]), ("long", lines[1::2])):
        (text.parent / f"{name}.jsonl").write_text("".join(part))
    domains = {name: {"source": {"jsonl": f"text/{name}.jsonl"}} for name in ("code", "licences", "short", "long")}
    split = {"split": "descriptions", "into": {"short": 0.5, "long": 0.5}}
    workspace, new = place({"domains": domains, "changes": [{"revise": "descriptions"}, split]})
    assert len(new) <= 7
    read = {run.spec.id: run for run in earlier_runs(workspace) if "split of descriptions" in run.reading.rules}
    assert len(read) >= 4
    for run in read.values():
        assert run.reading.weights["short"] == run.reading.weights["long"] > 0
        assert not run.reading.refused

    # Withdrawal: what drew on it stays as a point of the larger simplex, and no mixture may use it.
    workspace, new = place({"domains.licences": None})
    assert len(new) <= 7
    table = loss_table(workspace)
    assert table.domains == ["code", "short", "long", "licences"]
    assert (table.weights[:, 3] > 0.02).sum() >= 8
    optimum = workspace.json("optimal_mixture")
    assert "licences" not in optimum["parts"]
    assert {row["domain"] for row in optimum["domains"]} == {"code", "short", "long"}
    rules = rows(workspace, "select distinct rule from current_earlier_runs where kept")
    assert any("kept as a coordinate" in rule for (rule,) in rules)

    # ... unless the study forbids it.
    before = len(table.mixtures)
    workspace, _ = place({"changes": [{"revise": "descriptions"}, split, {"withdraw": "licences", "evidence": "drop"}]})
    table = loss_table(workspace)
    assert table.domains == ["code", "short", "long"]
    assert len(table.mixtures) < before
    assert (
        rows(workspace, "select count(*) from current_earlier_runs where not kept and rule like 'withdrawal%'")[0][0]
        > 0
    )


@pytest.mark.slow
def test_a_domain_that_goes_and_comes_back_costs_nothing(place):
    workspace, _ = place()
    everything = trained(workspace)
    workspace, new = place(
        {"domains.licences": None, "domains.descriptions": {"source": {"jsonl": "text/descriptions.jsonl"}}}
    )
    assert new
    source = {"source": {"jsonl": "text/licences.jsonl"}}
    workspace, new = place({"domains.licences": source, "domains.descriptions": None})
    assert new == set()
    assert everything <= trained(workspace)
    with read_ledger(workspace.ledger) as connection:
        assert checks.mixtures_on_simplex(connection).passed
    # A failed check withdraws the list, and what was paid for is listed again all the same.
    before = {entry["id"] for entry in workspace.json("mixtures")["mixtures"]}
    workspace.withdraw("mixtures")
    workspace, new = place()
    assert new == set()
    assert {entry["id"] for entry in workspace.json("mixtures")["mixtures"]} == before


@pytest.mark.slow
def test_a_domain_of_next_to_no_weight_stops_nothing(place):
    place()
    workspace, _ = place({"domains.descriptions": {"source": {"jsonl": "text/descriptions.jsonl"}, "cap": 0.0001}})
    assert not [entry for entry in workspace.json("mixtures")["mixtures"] if entry["origin"] == "arrival"]
    workspace, _ = place({"mixtures.anchors": {"natural": True, "uniform": True}})
    assert not [entry for entry in workspace.json("mixtures")["mixtures"] if entry["origin"] == "arrival"]


@pytest.mark.slow
def test_runs_that_repeated_otherwise_are_not_mixed_with_todays(place):
    place({"limits": {"target_tokens": 2_000_000, "max_epochs": 50}})
    workspace, new = place({"limits": {"target_tokens": 4_000_000, "max_epochs": 50}})
    assert new
    refused = {run.reading.refused for run in earlier_runs(workspace)}
    assert any("was repeated otherwise than today" in why for why in refused)
    counts = rows(
        workspace,
        "select count(*) from current_proxy_losses where final group by mixture, seed, target",
    )
    assert {count for (count,) in counts} == {1}


def test_a_damaged_record_of_a_proxy_stops_nothing(decided_study, tmp_path):
    folder = shutil.copytree(decided_study, tmp_path / "study")
    damaged = folder / "home" / "proxies" / "p0000000000000000"
    damaged.mkdir()
    (damaged / "proxy.json").write_text('{"spec": {"half": ')
    workspace = Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)
    before = trained(workspace)
    for stage in up_to(MIXTURE_DECISION):
        assert [one.error for one in workspace.materialise(stage) if one.error] == []
    assert trained(workspace) == before


@pytest.mark.slow
def test_documents_that_change_without_a_word_are_trained_on_again(place, study_file):
    workspace, _ = place()
    text = study_file.parent / "text" / "code.jsonl"
    with text.open("a") as file:
        file.write(json.dumps({"id": "more", "text": "print('another document')\n" * 20}) + "\n")
    workspace, new = place()
    assert len(new) >= 9
    refused = {run.reading.refused for run in earlier_runs(workspace)}
    assert any("documents of code changed since" in why for why in refused)


REGRET = Acquisition.regret


def some_regret(self, natural):
    """The real one, but never nothing: laws this rough may happen to agree on everything."""
    return dataclasses.replace(REGRET(self, natural), expected=0.01, judged=True)


@pytest.mark.slow
def test_proposals_are_taken_up_within_the_budget(place, monkeypatch):
    # What is proposed is luck with eleven mixtures, and not what this is about.
    monkeypatch.setattr(acquisition, "APART", 0.001)
    monkeypatch.setattr(Acquisition, "regret", some_regret)
    third = {"domains.descriptions": {"source": {"jsonl": "text/descriptions.jsonl"}}}
    workspace, _ = place(third | {"refit": {"tolerance": 0.0, "batch": 2, "max_new_tokens": 3 * EACH}})
    found = stability(workspace)
    assert not found.stable
    assert 0 < len(found.mixtures) <= 2
    assert found.regret >= 0
    assert "asked for" in adopt_proposals(workspace, "test").said
    workspace, new = place()
    assert len(new) == len(found.mixtures)
    further = rows(workspace, "select distinct mixture from current_mixtures where origin = 'further'")
    assert {mixture for (mixture,) in further} == {mixture.id for mixture in found.mixtures}
    number = min(3 - len(found.mixtures), len(stability(workspace).mixtures))
    said = adopt_proposals(workspace, "test").said
    assert said.endswith(f"asked for {number} more proxies" if number else "beside one that was measured")
    workspace, _ = place({"refit": {"tolerance": 0.0, "batch": 2, "max_new_tokens": 0}})
    assert adopt_proposals(workspace, "test").said.endswith(
        "the budget has 0 left" if stability(workspace).mixtures else "was measured"
    )
    workspace, _ = place({"refit": {"tolerance": 1000.0}})
    assert stability(workspace).stable
    assert adopt_proposals(workspace, "test").said.startswith("the decision is stable")
    assert workspace.json("mixture_decision", "decision.json")["stability"]["stable"]
    assert np.isfinite(workspace.need(FURTHER_MIXTURES.name).facts["expected regret (nats/token)"])
