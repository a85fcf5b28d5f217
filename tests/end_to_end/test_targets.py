"""A task, a family and a guardrail in a small study that the real command runs: from the items to the report."""

import json
import shutil

import duckdb
import pytest
import yaml

from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.stages import up_to
from regmix_pipeline.tokens.checks_stage import TEXT_CHECKS

MOST = 60
WORSE_BY = 0.02


def items_of(text):
    """Items about the science text: which of two pieces goes on as the text does."""
    lines = [json.loads(line)["text"] for line in (text / "science.jsonl").read_text().splitlines()]
    found = []
    for number, line in enumerate(lines):
        other = lines[(number + 7) % len(lines)]
        # Prompts longer than the window of 32 tokens.
        for start in range(0, len(line) - 190, 600):
            prompt, right = line[start : start + 150], line[start + 150 : start + 190]
            found.append({"prompt": prompt, "choices": [other[150:190], right], "gold": 1})
    return found[:MOST]


@pytest.fixture(scope="module")
def asked(tiny_settings):
    """The study's settings: science as text and as a task in one family, code guarded."""
    return tiny_settings | {
        "targets": {
            "science": {"source": {"jsonl": "text/science.jsonl"}},
            "facts": {"source": {"task": "text/facts.jsonl"}, "weight": 3},
            "code": {"weight": 0.5},
            "licences": {"weight": 0},
        },
        "families": {"knowledge": {"targets": ["science", "facts"], "weight": 1.5}},
        "search": {"guardrails": [{"targets": ["code", "licences"], "worse_by": WORSE_BY}]},
        "regression": {"regressors": ["linear", "saturation"], "bootstrap": 50, "extrapolation": "off"},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": tiny_settings["proxies"] | {"noise": {"mixtures": 1}},
    }


@pytest.fixture(scope="module")
def made(real_text, asked, tmp_path_factory, study_in):
    """The study, run once by the real command, and what it said."""
    folder = tmp_path_factory.mktemp("targets") / "study"
    shutil.copytree(real_text, folder / "text")
    lines = "".join(json.dumps(item) + "\n" for item in items_of(folder / "text"))
    (folder / "text" / "facts.jsonl").write_text(lines)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(asked, sort_keys=False))
    study = study_in(folder)
    return study, study.does("run", "--workers", "1")


@pytest.fixture
def study(made, tmp_path):
    """A copy, for a test that changes it."""
    return made[0].copied(tmp_path / "copy")


def decision_of(study):
    (path,) = study.home.glob("decisions/*/decision.json")
    return json.loads(path.read_text())


def query(study, sql):
    with duckdb.connect(str(study.home / "ledger.duckdb"), read_only=True) as ledger:
        return ledger.execute(sql).fetchall()


def test_the_task_is_measured_by_every_proxy_with_its_errors(made):
    rows = query(
        made[0],
        "select loss, standard_error, bits_per_byte, bits_per_byte_standard_error, accuracy, accuracy_standard_error "
        "from current_proxy_losses where final and target = 'facts'",
    )
    assert len(rows) == 9
    items = len((made[0].folder / "text" / "facts.jsonl").read_text().splitlines())
    for loss, error, bits, bits_error, accuracy, accuracy_error in rows:
        assert 0.5 < bits < 8
        assert 0 < bits_error < bits
        assert loss / bits == pytest.approx(rows[0][0] / rows[0][2])
        assert error / loss == pytest.approx(bits_error / bits)
        assert accuracy * items == pytest.approx(round(accuracy * items))
        assert 0 < accuracy_error < 0.1
    # Text has no accuracy; along the way a task has none either.
    assert query(made[0], "select count(*) from current_proxy_losses where accuracy is not null") == [(9,)]
    assert len(query(made[0], "select 1 from current_proxy_losses where not final and target = 'facts'")) == 9 * 3


def test_the_family_counts_by_its_macro_average(made):
    record = decision_of(made[0])
    assert record["objective_asked"] == pytest.approx({"science": 0.1875, "facts": 0.5625, "code": 0.25})
    (family,) = record["families"]
    assert family["share"] == pytest.approx(0.75)
    assert family["targets"] == {"science": 0.25, "facts": 0.75}
    losses = {(row["name"], row["target"]): row["predicted"] for row in record["predictions"]}
    average = 0.25 * losses["chosen", "science"] + 0.75 * losses["chosen", "facts"]
    assert family["predicted"]["chosen"] == pytest.approx(average)
    assert "family knowledge (75% of the objective): science 25%, facts 75%" in " ".join(made[1].split())


def test_the_decision_keeps_its_guardrails_and_says_so_wherever_it_is_read(made):
    study, said = made
    record = decision_of(study)
    losses = {(row["name"], row["target"]): row["predicted"] for row in record["predictions"]}
    assert [row["target"] for row in record["guardrails"]] == ["code", "licences"]
    for row in record["guardrails"]:
        away = losses["chosen", row["target"]] - losses["natural", row["target"]]
        assert away <= WORSE_BY + 1e-8
        assert row["slack"] == pytest.approx(WORSE_BY - away, abs=1e-8)
        assert row["active"] == (f"guardrail of {row['target']}" in record["active"])
        assert f"guardrail of {row['target']}: predicted {row['difference']:+.4f}" in " ".join(said.split())
    measured = query(study, "select target, name, loss from current_confirmations")
    found = {(target, name): loss for target, name, loss in measured}
    for target in ("code", "licences"):
        away = found[target, "chosen"] - found[target, "natural"]
        state = "kept" if away <= WORSE_BY else "broken"
        assert f"larger models: guardrail of {target} {state}: {away:+.4f} (one seed)" in " ".join(said.split())
    told = study.does("explain", "code", "--json")
    explained, _ = json.JSONDecoder().raw_decode(told, told.index("{"))
    assert explained["guardrails"] == record["guardrails"]
    assert "Guardrails: predicted loss of the chosen mixture" in study.does("explain", "code")


def test_the_report_shows_the_family_above_its_targets_guardrails_and_accuracy(made):
    (report,) = made[0].home.glob("reports/*.html")
    text = " ".join(report.read_text().split("<script")[0].split())
    families = text[text.index('id="families"') :]
    assert families.index("knowledge") < families.index("&emsp;science") < families.index("&emsp;facts")
    guardrails = text[text.index('id="guardrails"') :]
    assert guardrails.index("code") < guardrails.index("larger models") or "larger models" in guardrails
    assert "kept" in guardrails or "▲ broken" in guardrails
    tasks = text[text.index('id="tasks"') :]
    assert "facts" in tasks
    assert "Spread over error" in text


def test_the_audit_covers_the_items(study):
    assert "The chain holds" in study.does("audit")
    (items,) = study.home.glob("shards/facts/*/validation.items")
    content = bytearray(items.read_bytes())
    content[-1] ^= 1
    items.write_bytes(content)
    said = study.does("audit", status=1)
    assert "validation.items" in said


def test_a_task_in_the_training_text_is_flagged(study):
    text = study.folder / "text"
    items = [json.loads(line) for line in (text / "facts.jsonl").read_text().splitlines()]
    with (text / "licences.jsonl").open("a") as file:
        for item in items:
            document = "A page about it. " + item["prompt"] + item["choices"][item["gold"]] + " And more of that."
            file.write(json.dumps({"text": document}) + "\n")
    workspace = Workspace(study.folder / "tiny.yaml", study.home, say=lambda line: None)
    run_stale(workspace, up_to(TEXT_CHECKS))
    rows = workspace.json("text_checks")["overlap"]
    runs = {row["domain"]: row["runs"] for row in rows if row["target"] == "facts"}
    assert runs["licences"] > 0.7
    assert runs["descriptions"] < 0.3


def test_what_nothing_keeps_is_an_error_that_names_the_guardrail(study, asked):
    hard = asked | {"search": {"guardrails": [{"targets": ["code"], "worse_by": -3.0}]}}
    (study.folder / "tiny.yaml").write_text(yaml.safe_dump(hard, sort_keys=False))
    before = sorted(study.home.glob("decisions/*"))
    said = study.does("run", status=1)
    assert "search.guardrails: no mixture inside the limits was found that keeps every guardrail" in said
    assert "of the nearest, code is predicted" in said
    assert "remedy: raise worse_by of code to" in said
    assert sorted(study.home.glob("decisions/*")) == before


def test_mistakes_in_the_study_file_are_named_with_their_line(study, asked):
    wrong = asked | {
        "targets": asked["targets"] | {"facts": {"source": {"task": "text/facts.jsonl"}, "kind": "x:y"}},
    }
    cases = {
        "targets.facts.kind: of a task bits per byte are measured": wrong,
        "families.knowledge: 'poems' is not a target": asked | {"families": {"knowledge": {"targets": ["poems"]}}},
        "'descriptions' is a domain, and not a target: its loss is not measured": asked
        | {"search": {"guardrails": [{"targets": ["descriptions"]}]}},
        "domains.code.source: items of a task can only be a target's": asked
        | {"domains": asked["domains"] | {"code": {"source": {"task": "text/facts.jsonl"}}}},
    }
    for problem, settings in cases.items():
        (study.folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        assert problem in " ".join(study.does("status", status=1).split())
