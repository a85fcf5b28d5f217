"""A warm start by the real command: phase 1 is given, its model is trained once, and phase 2 is chosen after it."""

import json
import shutil

import duckdb
import pytest
import yaml
from safetensors.torch import load_file

from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.exports.decided import export_decision
from regmix_pipeline.mixtures.limits import limits_of
from regmix_pipeline.proxies.phase_checkpoints import phase_specs
from regmix_pipeline.proxies.train import train_proxy
from regmix_pipeline.study.file import load_study
from tests.end_to_end.test_changes import proxies, regmix, write

TOKENS = 16_384
FIRST = {"name": "pretraining", "tokens": 600_000, "mixture": {"code": 0.5, "licences": 0.5}, "proxy_tokens": 8_192}
LAST = {"name": "annealing", "tokens": 300_000}


@pytest.fixture(scope="module")
def settings(tiny_settings):
    plain = {name: value for name, value in tiny_settings.items() if name != "confirmation"}
    tokens = {"code": 150_000, "licences": 250_000, "descriptions": 150_000}
    domains = {name: domain | {"available_tokens": tokens[name]} for name, domain in plain["domains"].items()}
    # The first phase sees the licences more than once, and leaves nothing of them.
    return plain | {
        "domains": domains | {"licences": domains["licences"] | {"max_epochs": 1}},
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
    assert said["training_tokens"] == 8_192 + 8 * TOKENS  # the natural mixture under the caps was sampled as well
    (model,) = (folder / ".regmix/tiny/phases").glob("p*/proxy.json")
    record = workspace.need("phase_checkpoints")
    kept = {f"phases/{model.parent.name}/{name}" for name in ("proxy.json", "optimiser.safetensors")}
    assert kept <= set(record.files)
    assert record.facts["phases"]["pretraining"]["proxy"] == model.parent.name
    trained = [json.loads((folder / f".regmix/tiny/proxies/{name}/proxy.json").read_text()) for name in proxies(folder)]
    assert {(each["goes_on_from"], each["tokens"]) for each in trained} == {(model.parent.name, TOKENS)}
    assert len(trained) == 8
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
    # Three times 150,000 tokens of code less the 300,000 before, of 300,000; once 250,000 of licences less 300,000.
    assert {name: row["cap"] for name, row in rows.items()} == {"code": 0.5, "licences": 0, "descriptions": 1}
    assert rows["licences"]["weight"] == 0
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


def test_exports_write_a_schedule_or_say_how_the_phases_are_run(decided, workspace, tmp_path):
    def export(name, template=None):
        out = tmp_path / name.replace("-", "_") / "mixture"
        return export_decision(workspace, None, name, out=out, template=template, unapproved=True)

    weights = find_decision(workspace)["mixture"]["weights"]
    listed = json.loads(export("json").files[0].read_text())
    assert [(row["name"], row["starts_at_token"], row["tokens"]) for row in listed["phases"]] == [
        ("pretraining", 0, 600_000),
        ("annealing", 600_000, 300_000),
    ]
    assert listed["phases"][1]["weights"] == weights == listed["weights"]
    code = listed["domains"]["code"]
    assert code["epochs"] == pytest.approx((300_000 + code["tokens"]) / code["available_tokens"])

    main, schedule, plan = export("streaming", "/data/{domain}").files
    foundry = yaml.safe_load(schedule.read_text())
    first = foundry["train_loader"]["dataset"]["streams"]
    assert first == {name: {"local": f"/data/{name}", "proportion": 0.5} for name in ("code", "licences")}
    callback = foundry["callbacks"]["curriculum_learning"]
    assert (callback["duration"], callback["schedule"][0]["duration"]) == ("600000tok", "300000tok")
    assert callback["schedule"][0]["dataset"]["streams"] == yaml.safe_load(main.read_text())["streams"]
    assert json.loads(plan.read_text())["tokens_before"] == {"code": 300_000, "licences": 300_000}

    module = export("mixtera", "domain:{domain}").files[0].read_text()
    assert '"tokens": 600000' in module
    assert "MixtureSchedule" in module
    compile(module, "mixture.py", "exec")

    next_study = yaml.safe_load(export("phases").files[0].read_text())["phases"]
    assert [row["name"] for row in next_study] == ["pretraining", "annealing"]
    assert next_study[1]["mixture"] == weights
    # The study of a third phase sums what both drew: of three times 150,000 tokens of code, 300,000 and phase 2's.
    content = yaml.safe_load((decided[0] / "tiny.yaml").read_text())
    content["phases"] = [*next_study, {"name": "cooldown", "tokens": 100_000}]
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    study = load_study(tmp_path / "next.yaml")
    caps = limits_of(study, {name: domain.available_tokens for name, domain in study.domains.items()}).caps
    left = [150_000 - 300_000 * weights["code"], 0, 450_000 - 300_000 * weights["descriptions"]]
    assert caps == pytest.approx([min(tokens / 100_000, 1) for tokens in left], abs=2e-5)

    for name in ("olmo-core", "regmix"):
        text = " ".join(export(name).files[0].read_text().replace("#", "").split())
        assert "Phases: pretraining (600,000 tokens), annealing (300,000 tokens)" in text
        assert f"{name} takes one mixture a run: train each phase in a run of its own" in text
    sources = yaml.safe_load(export("olmo-core").files[0].read_text())["sources"]
    # Of three epochs of code two are gone.
    assert {each["source_name"]: each["max_repetition_ratio"] for each in sources} == {"code": 1, "descriptions": 3}
    blend = export("megatron", "/data/{domain}").files
    assert "--phase-transition-iterations" in blend[1].read_text()
