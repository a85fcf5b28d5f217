"""A warm start by the real command: phase 1 is given, its model is trained once, and phase 2 is chosen after it."""

import json
import shutil

import duckdb
import pytest
from safetensors.torch import load_file

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.phase_checkpoints import phase_specs
from regmix_pipeline.proxies.train import train_proxy
from tests.end_to_end.test_changes import proxies, regmix, write

TOKENS = 16_384
FIRST = {"name": "pretraining", "tokens": 600_000, "mixture": {"code": 0.5, "licences": 0.5}, "proxy_tokens": 8_192}
LAST = {"name": "annealing", "tokens": 300_000}


@pytest.fixture(scope="module")
def settings(tiny_settings):
    plain = {name: value for name, value in tiny_settings.items() if name != "confirmation"}
    # The first phase sees the licences more than once, and leaves nothing of them.
    licences = tiny_settings["domains"]["licences"] | {"max_epochs": 1}
    return plain | {
        "domains": tiny_settings["domains"] | {"licences": licences},
        "phases": [FIRST, LAST],
        "limits": {"max_epochs": 3},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}, "rounds": {"number": 1}},
        "regression": {"regressors": ["saturation"], "bootstrap": 50, "step_laws": False, "extrapolation": "off"},
        "search": {"method": "optimiser"},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
    }


@pytest.fixture(scope="module")
def decided(real_text, settings, study_in, tmp_path_factory):
    """The folder; what `regmix status` said before; what `regmix run` said, after one that was killed in phase 1."""
    folder = tmp_path_factory.mktemp("phases")
    shutil.copytree(real_text, folder / "text")
    write(folder, settings)
    said = json.loads(regmix(folder, "status", "--json"))
    killed = study_in(folder, ".regmix/tiny").start().says(r"a model of .* parameters, through pretraining")
    killed.kill()
    killed.gone()
    assert not proxies(folder)
    return folder, said, json.loads(regmix(folder, "run", "--json"))


@pytest.fixture
def workspace(decided):
    return Workspace(decided[0] / "tiny.yaml", decided[0] / ".regmix/tiny", say=lambda line: None)


def test_the_first_phase_is_counted_before_and_trained_once(decided, workspace):
    folder, said, _ = decided
    row = next(each for each in said["stages"] if each["stage"] == "phase_checkpoints")
    assert (row["models"], row["tokens"]) == (1, 8_192)
    assert said["training_tokens"] == 8_192 + 9 * TOKENS
    (model,) = (folder / ".regmix/tiny/phases").glob("p*/proxy.json")
    record = workspace.need("phase_checkpoints")
    kept = {f"phases/{model.parent.name}/{name}" for name in ("proxy.json", "optimiser.safetensors")}
    assert kept <= set(record.files)
    assert record.facts["phases"]["pretraining"]["proxy"] == model.parent.name
    trained = [json.loads((folder / f".regmix/tiny/proxies/{name}/proxy.json").read_text()) for name in proxies(folder)]
    assert {(each["goes_on_from"], each["tokens"]) for each in trained} == {(model.parent.name, TOKENS)}
    assert len(trained) == 9
    assert json.loads(regmix(folder, "status", "--json"))["training_tokens"] == 0


def test_the_killed_phase_ended_with_the_same_bits_as_one_that_was_not(workspace, tmp_path):
    (spec,) = phase_specs(workspace)
    again = spec.model_copy(update={"folder": tmp_path, "targets": {}})
    assert again.id == spec.id
    train_proxy(again)
    for name in ("model.safetensors", "optimiser.safetensors"):
        one, other = (load_file(each.output / name) for each in (spec, again))
        assert all((one[tensor] == other[tensor]).all() for tensor in one)


def test_epochs_are_summed_over_phases(decided, workspace):
    record = find_decision(workspace)
    rows = {row["domain"]: row for row in record["domains"]}
    for name, row in rows.items():
        before = 600_000 * FIRST["mixture"].get(name, 0.0)
        drawn = before + 300_000 * row["weight"]
        assert row["epochs_before"] == pytest.approx(before / row["available_tokens"])
        assert row["epochs"] == pytest.approx(drawn / row["available_tokens"])
        left = (1 if name == "licences" else 3) * row["available_tokens"] - before
        assert row["cap"] == pytest.approx(min(max(left / 300_000, 0), 1), abs=2e-6)
    assert rows["licences"]["cap"] == rows["licences"]["weight"] == 0
    assert 0 < rows["code"]["cap"] < 1
    assert [(row["name"], row["tokens"]) for row in record["phases"]] == [
        ("pretraining", 600_000),
        ("annealing", 300_000),
    ]
    # Nothing that was sampled holds any of what the first phase used up.
    with duckdb.connect(str(workspace.ledger), read_only=True) as ledger:
        rows = ledger.execute("select max(weight) from current_mixtures where domain = 'licences'").fetchall()
    assert rows == [(0.0,)]
    assert record["versions"]["phase_checkpoints/all"]


def test_what_is_said_of_a_decision_names_the_phases(decided, workspace):
    folder, _, outcome = decided
    said = " ".join(regmix(folder, "run").split())  # makes nothing, and shows the decision
    assert "Phases: pretraining (600,000 tokens), annealing (300,000 tokens)" in said
    assert outcome["decision"]["phases"][0]["mixture"] == {"code": 0.5, "licences": 0.5}
    code = json.loads(regmix(folder, "explain", "code", "--json"))
    assert "300,000 in earlier phases" in code["cap_from"]
    assert "pretraining" in next(folder.glob(".regmix/tiny/reports/*.html")).read_text()
    audited = " ".join(regmix(folder, "audit").split())
    assert "pretraining: 50.0% code, 50.0% licences" in audited
    assert f"{code['epochs_before']:.2f} of them in pretraining" in " ".join(regmix(folder, "explain", "code").split())
