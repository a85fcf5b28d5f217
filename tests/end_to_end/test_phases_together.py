"""Two phases chosen at once by the real command: from the study file to proxies, a decision, and what is exported."""

import io
import json
import shutil

import duckdb
import pytest
import yaml
from rich.console import Console

from regmix_pipeline.blends.audit import audit_blend
from regmix_pipeline.decisions.evidence import evidence_behind
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.prediction import predict
from regmix_pipeline.decisions.show import show_decision
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError, StudyError
from regmix_pipeline.executed.drift import verify_run
from regmix_pipeline.executed.log import Options
from regmix_pipeline.executed.planned import plan_of
from regmix_pipeline.exports.decided import export_decision
from regmix_pipeline.exports.design import write_design
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.study.coordinates import of_phase, over_phases, phase_of
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.phases import phase_parts, tokens_before
from regmix_pipeline.surface.asked import mixture_asked
from tests.end_to_end.test_changes import proxies, regmix, write

TOKENS = 16_384
BEFORE = {"name": "warmup", "tokens": 100_000, "mixture": {"licences": 1}, "proxy_tokens": 2_048}
PARTS = {"pretraining": 666_667, "annealing": 333_333}
AVAILABLE = {"code": 150_000, "licences": 250_000, "descriptions": 200_000}


@pytest.fixture(scope="module")
def settings(tiny_settings):
    plain = {name: value for name, value in tiny_settings.items() if name != "confirmation"}
    domains = {name: domain | {"available_tokens": AVAILABLE[name]} for name, domain in plain["domains"].items()}
    return plain | {
        "domains": domains,
        "phases": [BEFORE, {"name": "pretraining", "tokens": 600_000}, {"name": "annealing", "tokens": 300_000}],
        "limits": {"max_epochs": 2},
        "alternatives": {"by_hand": {"code": 0.3, "licences": 0.3, "descriptions": 0.4}},
        "mixtures": {"count": 10, "minimum": 0.05, "anchors": {"natural": True}, "rounds": {"number": 1}},
        "regression": {"regressors": ["saturation", "ngrams"], "bootstrap": 50, "extrapolation": "off"},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 0}},
    }


@pytest.fixture(scope="module")
def decided(real_text, settings, tmp_path_factory):
    """The folder; what `regmix status` said before; what `regmix run` said."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(real_text, folder / "text")
    write(folder, settings)
    said = json.loads(regmix(folder, "status", "--json"))
    return folder, said, json.loads(regmix(folder, "run", "--json"))


@pytest.fixture
def workspace(decided):
    return Workspace(decided[0] / "tiny.yaml", decided[0] / ".regmix/tiny", say=lambda line: None)


def test_mixtures_of_both_phases_keep_the_caps_of_what_they_draw_together(decided, workspace):
    _, said, _ = decided
    assert said["training_tokens"] == 2_048 + 11 * TOKENS
    # Twice 250,000 tokens of licences less the 100,000 before, of 900,000.
    caps = {"code": 300_000 / 900_001, "licences": 400_000 / 900_001, "descriptions": 400_000 / 900_001}
    listed = workspace.json("mixtures")["mixtures"]
    assert len(listed) == 11
    for entry in listed:
        mixture = Mixture.of(entry["parts"])
        assert mixture.has_phases(PARTS)
        assert all(weight <= caps[domain] for domain, weight in over_phases(mixture.weights).items())
    equal = [of_phase(Mixture.of(each["parts"]).weights, "annealing") for each in listed]
    first = [of_phase(Mixture.of(each["parts"]).weights, "pretraining") for each in listed]
    alike = [
        all(abs(a.get(name, 0) - b.get(name, 0)) < 1e-5 for name in AVAILABLE)
        for a, b in zip(equal, first, strict=True)
    ]
    assert sum(alike) == 3  # two that were drawn so, and the natural one


def test_proxies_draw_each_phase_as_its_mixture_says(decided, workspace):
    folder, *_ = decided
    with duckdb.connect(str(workspace.ledger), read_only=True) as ledger:
        rows = ledger.execute(
            "select proxy, split_part(domain, '/', 1), sum(executed_tokens), sum(weight), "
            "max(abs(executed_tokens - weight * 16384)) from current_proxies group by all"
        ).fetchall()
    assert len(rows) == 22
    windows = {"pretraining": 341, "annealing": 171}  # of 512, in the proportion of 2 to 1
    for _, phase, tokens, weight, gap in rows:
        assert tokens == windows[phase] * 32
        assert weight == pytest.approx(PARTS[phase] / 1e6)
        assert gap <= 1.5 * 32
    trained = [json.loads((folder / f".regmix/tiny/proxies/{name}/proxy.json").read_text()) for name in proxies(folder)]
    (start,) = {each["goes_on_from"] for each in trained}
    assert start == workspace.need("phase_checkpoints").facts["phases"]["warmup"]["proxy"]


def test_the_decision_states_both_mixtures_under_summed_epochs(decided, workspace):
    record = find_decision(workspace)
    weights = record["mixture"]["weights"]
    assert Mixture.from_weights(weights).has_phases(PARTS)
    assert phase_parts(workspace.study) == PARTS
    together, before = over_phases(weights), {"licences": 100_000}
    assert tokens_before(workspace.study) == before
    for row in record["domains"]:
        domain = row["domain"].rpartition("/")[2]
        drawn = before.get(domain, 0) + 900_000 * together.get(domain, 0.0)
        assert row["epochs"] == pytest.approx(drawn / AVAILABLE[domain])
        assert row["epochs"] <= 2
        assert row["epochs_before"] == before.get(domain, 0) / AVAILABLE[domain]
    # How well eleven mixtures of tiny models are predicted is another matter.
    of_losses = {"rank correlation out of fold", "coverage of the intervals", "inside the sampled region"}
    assert {check["check"] for check in record["checks"] if not check["passed"]} <= of_losses
    assert record["alternatives"]["by_hand"]["weights"]["annealing/code"] == pytest.approx(0.1)
    # What is charged for a cap is of a domain in both phases.
    assert {row["domain"] for row in record["shadow_prices"]} <= set(AVAILABLE)
    assert set(record["regressors"].values()) == {"saturation"}
    assert {row["name"]: row["mixture"] for row in record["phases"]} == {
        "warmup": {"licences": 1.0},
        "pretraining": None,
        "annealing": None,
    }


def test_what_is_said_of_a_decision_is_said_phase_by_phase(decided, workspace):
    folder, _, outcome = decided
    console = Console(file=io.StringIO(), width=120)
    show_decision(workspace, console)
    said = " ".join(console.file.getvalue().split())
    assert "Chosen at once are the mixtures of pretraining and annealing; epochs are summed" in said
    assert "of its phase" in said
    assert " in pretraining, then " in outcome["decision"]["summary"]
    page = next(folder.glob(".regmix/tiny/reports/*.html")).read_text()
    for words in ("share of its phase", "annealing (chosen):", "are together to draw 900 k tokens"):
        assert words in page, words
    assert "annealing (chosen): " in " ".join(regmix(folder, "audit").split())
    explained = json.loads(regmix(folder, "explain", "annealing/licences", "--json"))
    assert "500,000" not in explained["cap_from"]
    assert "250,000 tokens, at most 2 times in 900,000 after 100,000 in earlier phases" in explained["cap_from"]
    assert all(
        abs(sum(w for name, w in point["mixture"].items() if phase_of(name) == "annealing") - 1 / 3) < 1e-5
        for point in explained["curve"]
    )


def test_exports_write_both_phases_or_the_one_that_is_asked_for(decided, workspace, tmp_path):
    def export(name, template=None, phase=None):
        out = tmp_path / f"{name}{phase}".replace("-", "_") / "mixture"
        return export_decision(workspace, None, name, out=out, template=template, unapproved=True, phase=phase)

    weights = find_decision(workspace)["mixture"]["weights"]
    first, last = (of_phase(weights, phase) for phase in PARTS)
    listed = json.loads(export("json", "/data/{domain}").files[0].read_text())
    assert [(row["name"], row["starts_at_token"], row["tokens"], row["weights"]) for row in listed["phases"]] == [
        ("warmup", 0, 100_000, {"licences": 1.0}),
        ("pretraining", 100_000, 600_000, first),
        ("annealing", 700_000, 300_000, last),
    ]
    assert (listed["weights"], listed["tokens"]) == (last, 300_000)
    foundry = yaml.safe_load(export("streaming", "/data/{domain}").files[1].read_text())
    callback = foundry["callbacks"]["curriculum_learning"]
    assert [row["duration"] for row in callback["schedule"]] == ["600000tok", "300000tok"]
    streams = callback["schedule"][0]["dataset"]["streams"]
    assert {name: row["proportion"] for name, row in streams.items()} == first
    compile(export("mixtera", "domain:{domain}").files[0].read_text(), "mixture.py", "exec")
    # A trainer that takes one mixture a run gets that of one phase.
    text = export("regmix", phase="pretraining").files[0].read_text()
    assert "This is the mixture of pretraining." in text
    assert yaml.safe_load(text)["train"] == {f"train_{name}": weight for name, weight in first.items()}
    with pytest.raises(StudyError, match="chose no phase 'warmup'"):
        export("regmix", phase="warmup")
    # A phase is verified by its own log; epochs count what was drawn before.
    log = tmp_path / "log.csv"
    rows = [f"1,{name},{round(600_000 * share)}" for name, share in first.items()]
    log.write_text("\n".join(["step,source,tokens", *rows]))
    checked = verify_run([log], plan_of(find_decision(workspace), "pretraining"), Options(cumulative=False))
    assert (checked.on_plan, checked.phase) == (True, "pretraining")
    drawn = {row.domain: row.tokens + (100_000 if row.domain == "licences" else 0) for row in checked.sources}
    assert {row.domain: row.epochs for row in checked.sources} == {
        name: pytest.approx(tokens / AVAILABLE[name]) for name, tokens in drawn.items()
    }
    # What was decided, settled, is where the next study begins.
    content = yaml.safe_load((decided[0] / "tiny.yaml").read_text())
    content["phases"] = yaml.safe_load(export("phases", phase="pretraining").files[0].read_text())["phases"]
    assert [row["name"] for row in content["phases"]] == ["warmup", "pretraining"]
    content["phases"].append({"name": "annealing", "tokens": 300_000})
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    drawn = tokens_before(load_study(tmp_path / "next.yaml"))
    before = {"licences": 100_000}
    assert drawn == {
        name: pytest.approx(before.get(name, 0) + 600_000 * weight, abs=1) for name, weight in first.items()
    } | {name: tokens for name, tokens in before.items() if name not in first}


def test_a_mixture_that_is_asked_about_is_of_both_phases(workspace):
    evidence = evidence_behind(workspace, find_decision(workspace))
    same = mixture_asked(evidence, "code=0.5,licences=0.5")
    assert same == Mixture.in_all_phases({"code": 0.5, "licences": 0.5}, PARTS)
    apart = mixture_asked(evidence, "pretraining/licences=0.667,annealing/code=0.333")
    assert set(apart.weights) == {"pretraining/licences", "annealing/code"}
    assert predict(evidence, [same, apart])[0].objective.predicted > 0
    with pytest.raises(MixtureError, match="the weights of pretraining sum to 0, and its share"):
        mixture_asked(evidence, "annealing/code=1")


def test_what_knows_one_mixture_says_so(workspace, tmp_path):
    with pytest.raises(StudyError, match="trainers' files hold one") as caught:
        write_design(workspace, "json", tmp_path / "mixtures")
    assert "let this package train the proxies" in caught.value.remedy
    blend = tmp_path / "blend.yaml"
    blend.write_text("train:\n  train_code: 0.5\n  train_licences: 0.5\n")
    with pytest.raises(StudyError, match="a blend is one mixture"):
        audit_blend(blend, workspace=workspace)
