import json
from pathlib import Path

import pytest
import yaml

from regmix_pipeline.errors import StudyError
from regmix_pipeline.planning.plan import plan_study
from regmix_pipeline.planning.show import show_plan
from regmix_pipeline.reference import reference_page
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.study import Study

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["demo", "pile", "bench", "modern", "registry"])
def test_shipped_studies_are_valid(name):
    study = load_study(ROOT / "studies" / f"{name}.yaml")
    assert study.name == name
    assert sum(study.objective.values()) == pytest.approx(1)


def test_pile_is_the_papers_setting():
    study = load_study(ROOT / "studies" / "pile.yaml")
    plan = plan_study(study, teraflops=400)
    proxies, confirmation = plan.works
    assert (plan.domains, proxies.models, plan.vocabulary) == (17, 512, 50_432)
    assert proxies.tokens == 512 * 2048 * 1000
    assert study.objective == {"pile_cc": 1.0}
    # The "1M" of the paper counts what is not embedding or head: 2 layers of width 256.
    assert study.proxies.model_settings.non_embedding_parameters() == pytest.approx(1.3e6, rel=0.1)
    assert confirmation.parameters == pytest.approx(1.1e9, rel=0.25)
    assert proxies.total_flops == pytest.approx(512 * 6 * 1.05e9 * (1.3e6 + 50_432 * 256 + 256 * 2048), rel=0.1)
    assert plan.caps["philpapers"] == pytest.approx(15 * 0.003707518 * 200 / 25)


def test_plan_is_shown_without_text_or_tokenizer(capsys):
    from rich.console import Console

    show_plan(plan_study(load_study(ROOT / "studies" / "pile.yaml"), teraflops=400), Console(width=200))
    shown = capsys.readouterr().out
    assert "512" in shown
    assert "17 domains" in shown


def test_reference_page_is_up_to_date():
    assert (ROOT / "docs" / "study-file.md").read_text() == reference_page()


def test_schema_describes_every_field():
    schema = Study.model_json_schema()
    undescribed = [
        f"{name}.{field}"
        for name, part in [("Study", schema), *schema["$defs"].items()]
        for field, spec in part.get("properties", {}).items()
        if not spec.get("description")
    ]
    assert undescribed == []


UNSAFE = ["../x", "a/b", "it's", 'x"; drop table mixtures; --', "Books", "two words", "", "a" * 64, ".hidden"]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_domain_names_are_refused(study_file, name):
    settings = yaml.safe_load(study_file.read_text())
    settings["domains"][name] = settings["domains"].pop("code")
    settings["targets"].pop("code")
    study_file.write_text(yaml.safe_dump(settings))
    with pytest.raises(StudyError, match="not a safe name"):
        load_study(study_file)


def test_a_domain_given_twice_is_refused_with_both_lines(study_file):
    text = study_file.read_text().replace("  licences:\n", "  code:\n    source:\n      jsonl: x.jsonl\n  licences:\n")
    study_file.write_text(text)
    line = [number for number, row in enumerate(text.splitlines(), 1) if row == "  code:"][1]
    with pytest.raises(StudyError, match=rf"tiny\.yaml:{line}: 'code' is given twice, first in line"):
        load_study(study_file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, r"tiny\.yaml:\d+: colour: there is no such field"),
        ({"domains.code.cap": 1.5}, r"tiny\.yaml:\d+: domains\.code\.cap: Input should be less than or equal to 1"),
        ({"domains.code.floor": -0.1}, r"domains\.code\.floor"),
        ({"targets.nowhere": {"weight": 1}}, "target 'nowhere' is not a domain"),
        ({"targets.objective": {"source": {"jsonl": "x.jsonl"}}}, "weighted mean under this name"),
        ({"targets.science.weight": 0}, "nothing to minimise"),
        ({"targets.code.source": {"jsonl": "x.jsonl"}}, "name of a domain and a source"),
        ({"domains.code.source": {"jsonl": "x", "parquet": "y"}}, "exactly one of"),
        ({"domains.code.source": {"corpus": "pubmud"}}, "did you mean 'pubmed'"),
        ({"tokenizer": {"train": {}, "file": "x.json"}}, "exactly one of file, hub and train"),
        (
            {"domains.code.source": {"tokens": {"path": "a.npy", "tokenizer": "gpt2"}}},
            r"tiny\.yaml:\d+: domains\.code\.source\.tokens\.tokenizer: .* the study trains another",
        ),
        (
            {
                "domains.code.source": {"tokens": {"path": "a.npy", "tokenizer": "gpt2"}},
                "tokenizer": {"file": "x.json"},
            },
            "were made by gpt2, and the study's tokenizer is x.json",
        ),
        ({"domains.code.source": {"tokens": {"path": "s3://b/a.npy", "tokenizer": "gpt2"}}}, "is not on a disk"),
        ({"domains.code.source": {"tokens": {"path": "a.npy"}}}, r"tokens\.tokenizer: this field is needed"),
        ({"domains.code.source": {"tokens": {"path": "a", "tokenizer": "x"}, "text_field": "t"}}, "is of text"),
        (
            {"domains.code.source": {"tokens": {"path": "a", "tokenizer": "x", "format": "olma"}}},
            r"tokens\.format: Input should be 'olmo', 'megatron', 'datatrove' or 'litdata'",
        ),
        ({"proxies.preset": "huge"}, "no preset 'huge'"),
        ({"proxies.model.heads": 5}, "heads"),
        ({"proxies.repeat_as_target": True, "limits.target_tokens": None}, "needs limits.target_tokens"),
        ({"mixtures.minimum": 0.0003}, "must divide 1"),
        ({"proxies.training.tokens": 10}, "less than one step"),
        ({"proxies.training.warmup_steps": 99}, "a warm-up of 99 steps is not shorter than the 32 steps"),
        ({"confirmation.preset": "huge"}, "no preset 'huge'"),
        (
            {"confirmation.training.learning_rat": 1},
            r"learning_rat: there is no such field; did you mean learning_rate\?",
        ),
        ({"confirmation.training.tokens": 10}, "less than one step"),
        ({"confirmation.model.heads": 5}, "heads"),
        ({"domains.code.source": None}, "domain 'code' has no source while others have one"),
        ({"tokenizer": None}, "needs a tokenizer"),
        ({"seed": "x"}, r"seed: Input should be a valid integer"),
    ],
)
def test_mistakes_name_file_line_and_field(change_study, changes, message):
    with pytest.raises(StudyError, match=message):
        load_study(change_study(changes))


def test_line_numbers_point_at_the_field(change_study):
    path = change_study({"limits.max_epochs": -1})
    line = next(n for n, row in enumerate(path.read_text().splitlines(), 1) if "max_epochs" in row)
    with pytest.raises(StudyError, match=rf":{line}: limits\.max_epochs"):
        load_study(path)


def test_files_that_are_no_study_are_refused(tmp_path):
    with pytest.raises(StudyError, match="no such study file"):
        load_study(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1, 2\nb: 3\n")
    with pytest.raises(StudyError, match=r"bad\.yaml:\d: not valid YAML"):
        load_study(path)
    path.write_text("")
    with pytest.raises(StudyError, match="holds no settings"):
        load_study(path)
    path.write_text("name: x\ndescription: a\x07b\n")
    with pytest.raises(StudyError, match=r"bad\.yaml:2: not valid YAML: a control character"):
        load_study(path)
    path.write_text("name: x\n? [a, b]\n: 1\n")
    with pytest.raises(StudyError, match=r"bad\.yaml:2: the field .* is not a name"):
        load_study(path)
    path.write_bytes(b"name: x\ndescription: caf\xe9\n")
    with pytest.raises(StudyError, match=r"bad\.yaml:2: not UTF-8"):
        load_study(path)


def test_shipped_schema_is_up_to_date():
    shipped = json.loads((ROOT / "studies" / "study.schema.json").read_text())
    assert shipped == json.loads(json.dumps(Study.model_json_schema()))
