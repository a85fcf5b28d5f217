"""Tables as trackers and spreadsheets export them: what is no domain and no target is left out, or named."""

import json

import pytest
import yaml

from regmix_pipeline.errors import RegressionError, StudyError
from regmix_pipeline.proxies import new_study, run_tables
from regmix_pipeline.proxies.new_study import add_to_study, study_about
from regmix_pipeline.proxies.run_names import domain_name
from regmix_pipeline.proxies.run_tables import read_runs
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.settings.imports import RunColumns, RunTableSettings

WEIGHTS = {"code": ["0.2", "0.5", "0.3"], "web": ["0.8", "0.5", "0.7"]}
LOSSES = {"science": ["3.1", "3.0", "3.2"]}


@pytest.fixture
def tables(tmp_path):
    """Write two tables of the same three runs: ``tables(weights, losses, ids=..., delimiter=...)``."""

    def write(weights, losses, ids=("1", "2", "3"), delimiter=","):
        paths = []
        for name, columns in (("mixtures", weights), ("losses", losses)):
            lines = [["index", *columns], *([run, *row] for run, *row in zip(ids, *columns.values(), strict=True))]
            paths.append(tmp_path / f"{name}.csv")
            paths[-1].write_text("".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")
        return paths

    return write


@pytest.fixture
def about(tables, tmp_path):
    """The study about two tables: its settings, and column -> why it was left out."""

    def made(weights, losses, **options):
        path = tmp_path / "study.yaml"
        taken = study_about(*tables(weights, losses), path, **options)
        study = load_study(path)
        # What was written runs: the same columns are read again.
        (pair,) = study.imports
        read = read_runs(*tables(weights, losses), list(study.domains), list(study.targets), pair).runs
        assert [run.id for run in read] == [run.id for run in taken.runs]
        return study, {each.column: each.why for each in taken.left_out}

    return made


def test_a_trackers_columns_are_left_out_by_name(about):
    tracked = {"_runtime": ["31", "32", "33"], "_timestamp": ["9", "9", "9"], "train/epoch": ["1", "2", "3"]}
    facts = {"_step": ["9", "9", "9"], "seed": ["1", "2", "3"], "train/tokens": ["5e6", "5M", "5000000"]}
    study, left_out = about(WEIGHTS | {"learning_rate": ["0.0004"] * 3}, LOSSES | tracked | facts)
    assert list(study.targets) == ["science"]
    assert set(study.domains) == {"code", "web"}
    assert set(left_out) == {"learning_rate", *tracked}
    (pair,) = study.imports
    assert pair.columns == RunColumns(step="_step", seed="seed", tokens="train/tokens")


def test_constant_and_identical_columns(about, tables, tmp_path):
    study, left_out = about(
        WEIGHTS | {"empty": ["0.1", "0", "0.2"], "zero": ["0.0", "0", "0e0"]},
        LOSSES | {"copy": ["3.10", "3.0", "3.2"], "flat": ["2", "2.0", "2"]},
        settings=RunTableSettings(ignore=("empty",)),
    )
    assert left_out == {
        "empty": "asked for",
        "zero": "0 in every run",
        "copy": "the same as 'science' in every run",
        "flat": "2 in every run",
    }
    assert set(study.domains) == {"code", "web"}
    halves = {"a": ["0.1", "0.2", "0.3"], "b": ["0.1", "0.2", "0.3"], "c": ["0.8", "0.6", "0.4"]}
    with pytest.raises(RegressionError, match="'a' and 'b' hold the same weights in every run"):
        study_about(*tables(halves, LOSSES), tmp_path / "other.yaml")


def test_each_table_is_read_once(tables, tmp_path, monkeypatch):
    read = []
    real = new_study.read_table
    monkeypatch.setattr(new_study, "read_table", lambda path: read.append(path.name) or real(path))
    monkeypatch.setattr(run_tables, "read_table", None)
    study_about(*tables(WEIGHTS, LOSSES), tmp_path / "study.yaml")
    assert read == ["mixtures.csv", "losses.csv"]


def test_what_is_kept_is_taken(about):
    study, left_out = about(WEIGHTS, LOSSES | {"epoch": ["2.5", "2.6", "2.7"]}, keep=["epoch"])
    assert (list(study.targets), left_out) == (["science", "epoch"], {})


@pytest.mark.parametrize("name", ["arc_easy/acc", "hellaswag acc_norm", "F1", "mmlu_accuracy", "pass@1"])
def test_scores_are_not_losses(about, name):
    with pytest.raises(RegressionError, match="better the higher it is") as caught:
        about(WEIGHTS, LOSSES | {name: ["0.5", "0.6", "0.7"]})
    assert f"--ignore '{name}'" in caught.value.remedy
    study, _ = about(WEIGHTS, LOSSES | {name: ["0.5", "0.6", "0.7"]}, settings=RunTableSettings(ignore=(name,)))
    assert list(study.targets) == ["science"]


def test_nothing_is_left(tables, tmp_path):
    with pytest.raises(RegressionError, match="no column is left for a target"):
        study_about(*tables(WEIGHTS, {"_runtime": ["1", "2", "3"]}), tmp_path / "study.yaml")


@pytest.mark.parametrize("name", ["mean", "AVG", "std"])
def test_a_row_that_sums_up_others_is_not_a_run(tables, name):
    with pytest.raises(RegressionError, match=f"row '{name}' is not a run") as caught:
        read_runs(*tables(WEIGHTS, LOSSES, ids=("1", "2", name)))
    assert caught.value.where.endswith("mixtures.csv:4")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets(tables, delimiter):
    plain = read_runs(*tables(WEIGHTS, LOSSES))
    assert len(plain.runs) == 3
    european = [
        {name: [each.replace(".", ",") for each in column] for name, column in table.items()}
        for table in (WEIGHTS, LOSSES)
    ]
    assert read_runs(*tables(*european, delimiter=delimiter)) == plain
    assert read_runs(*tables(WEIGHTS, LOSSES, delimiter=delimiter)) == plain


def test_names_in_other_scripts_and_with_signs():
    names = [
        domain_name(name) for name in ("C", "C++", "C#", "\u043a\u043d\u0438\u0433\u0438", "\u65b0\u95fb", "Caf\u00e9")
    ]
    assert names[:3] == ["c", "cplusplus", "csharp"]
    assert len(set(names)) == 6
    assert names[5] == "cafe"
    long = [domain_name("x" * 70 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) == 63
    with pytest.raises(RegressionError, match="no letter or digit"):
        domain_name("???")


FORMS = {
    "block": "{body}",
    "a comment at the end": "{body}# the end",
    "an end mark": "{body}...\n",
    "indented": "{indented}",
    "imports that are there": "{body}imports:\n- {{mixtures: a.csv, losses: b.csv}}\n",
    "imports that are there, indented": "{body}imports:\n    - mixtures: a.csv\n      losses: b.csv\n",
    "JSON": "{json}",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_study_in_any_form_gets_its_imports(tables, study_file, form):
    settings = yaml.safe_load(study_file.read_text())
    body = study_file.read_text()
    parts = {
        "body": body,
        "indented": "".join(f"  {line}\n" for line in body.splitlines()),
        "json": json.dumps(settings, indent=1),
    }
    study_file.write_text(FORMS[form].format(**parts))
    before = yaml.safe_load(study_file.read_text())
    weights = {"code": ["0.2", "0.5", "0.3"], "licences": ["0.8", "0.5", "0.7"]}
    losses = LOSSES | {"code": ["2", "2.1", "2.2"], "_step": ["1", "1", "1"]}
    add_to_study(study_file, *tables(weights, losses), settings=RunTableSettings(ignore=("_step",)))
    after = yaml.safe_load(study_file.read_text())
    entry = {"mixtures": "mixtures.csv", "losses": "losses.csv", "ignore": ["_step"]}
    assert after == before | {"imports": [entry, *before.get("imports", [])]}
    add_to_study(study_file, *tables(weights, losses), settings=RunTableSettings(ignore=("_step",)))
    assert yaml.safe_load(study_file.read_text()) == after


def test_a_form_that_nothing_can_be_added_to_is_left_as_it_is(tables, study_file):
    text = study_file.read_text() + "imports: [{mixtures: a.csv, losses: b.csv}]\n"
    study_file.write_text(text)
    with pytest.raises(StudyError, match="written in a form that nothing can be added to") as caught:
        add_to_study(study_file, *tables({"code": ["1"] * 3}, LOSSES | {"code": ["2", "2.1", "2.2"]}))
    assert "{mixtures: mixtures.csv, losses: losses.csv}" in caught.value.remedy
    assert study_file.read_text() == text
