"""A study file for a folder of real text: what it finds, what it says, and that the pipeline runs from it."""

import gzip
import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import DocumentError, StudyError
from regmix_pipeline.files import read_json
from regmix_pipeline.planning.plan import plan_study
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study_init.found import found_domains
from regmix_pipeline.study_init.sampled import sample_of, text_field_of
from regmix_pipeline.study_init.write import init_study, study_text
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER


@pytest.fixture
def folder(real_text, tmp_path):
    """Real text in every form that a folder may have it: plain, compressed, nested, Parquet under another field."""
    data = tmp_path / "my data"
    (data / "Py Code" / "part one").mkdir(parents=True)
    lines = (real_text / "code.jsonl").read_bytes().splitlines(keepends=True)
    (data / "Py Code" / "part one" / "a.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[: len(lines) // 2])))
    (data / "Py Code" / "b.jsonl").write_bytes(b"".join(lines[len(lines) // 2 :]))
    (data / "licences.jsonl.zst").write_bytes(zstandard.compress((real_text / "licences.jsonl").read_bytes()))
    texts = [json.loads(line)["text"] for line in (real_text / "descriptions.jsonl").read_text().splitlines()]
    (data / "descriptions").mkdir()
    table = pa.table({"url": [f"https://{number}" for number in range(len(texts))], "page": texts})
    pq.write_table(table, data / "descriptions" / "all.parquet")
    (data / "few.jsonl").write_bytes(b"".join(lines[:2]))
    (data / "notes").mkdir()
    (data / "notes" / "a.txt").write_text("not read")
    return data


def test_the_pipeline_runs_from_the_written_file(folder, tmp_path):
    out = tmp_path / "study.yaml"
    proposal = init_study(folder, out)
    study = load_study(out)
    assert set(study.domains) == {"py_code", "licences", "descriptions"}
    assert study.domains["descriptions"].source.text_field == "page"
    workspace = Workspace(out, tmp_path / "home", say=lambda line: None)
    for stage in (DOMAINS, DOCUMENTS, TOKENIZER, TOKEN_SHARDS, DOMAIN_INVENTORY):
        assert not [made.error for made in workspace.materialise(stage) if made.error]
    sources = {row["source"]: row for row in read_json(workspace.artefact("domain_inventory"))["sources"]}
    for domain in proposal.usable:
        row = sources[domain.name]
        real = row["train_tokens"] + row["validation_tokens"]
        assert domain.tokens == pytest.approx(real, rel=0.05)
        assert domain.sample.whole
        assert row["cap"] > row["prior"]


def test_estimates_from_a_part_are_near_the_whole(real_text, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    texts = [json.loads(line)["text"] for name in ("code", "licences") for line in (real_text / f"{name}.jsonl").open()]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    (data / "plain.jsonl").write_bytes(lines)
    (data / "zipped.jsonl.gz").write_bytes(gzip.compress(lines))
    (data / "zstd.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.table({"text": texts}), data / "table.parquet")
    monkeypatch.setattr("regmix_pipeline.study_init.sampled.SAMPLE_BYTES", 250_000)
    whole = sum(len(text.encode()) for text in texts)
    domains = found_domains(data, tmp_path)[0]
    assert [domain.name for domain in domains] == ["plain", "table", "zipped", "zstd"]
    for domain in domains:
        sample = sample_of(domain)
        assert not sample.whole
        assert sample.text_bytes == pytest.approx(whole, rel=0.4)
        assert sample.documents == pytest.approx(len(texts), rel=0.4)


def test_columns_that_are_no_text_are_passed_over(tmp_path):
    texts, ends = [f"{n} words of a document" for n in range(40)], pa.array([4 * n for n in range(41)], pa.int32())
    odd = pa.StringArray.from_buffers(40, ends.buffers()[1], pa.py_buffer(b"\xff\xfe\xfd\xfc" * 40))
    pq.write_table(pa.table({"id": odd, "body": pa.array(texts)}), tmp_path / "web.parquet")
    pq.write_table(pa.table({"id": odd, "body": pa.array(texts)}), tmp_path / "code.parquet")
    for domain in found_domains(tmp_path, tmp_path)[0]:
        sample = sample_of(domain)
        assert (sample.text_field, sample.documents) == ("body", 40)


@pytest.mark.parametrize(
    "larger", [{"proxy_tokens": 10_000_000, "windows_per_step": 8}, {"mixtures": 512, "tokens": 20_000_000_000}]
)
def test_files_for_more_text_load_and_can_be_planned(folder, tmp_path, larger):
    proposal = replace(init_study(folder, tmp_path / "study.yaml"), preset="regmix-1m", **larger)
    (tmp_path / "larger.yaml").write_text(study_text(proposal))
    study = load_study(tmp_path / "larger.yaml")
    assert study.proxies.training_settings.tokens == larger.get("proxy_tokens", 1_048_576_000)
    assert plan_study(study, teraflops=1).works[0].models == proposal.mixtures + 2 + 6


def test_what_is_left_out_is_said(folder, tmp_path):
    proposal = init_study(folder, tmp_path / "study.yaml", target="licences")
    said = "\n".join(proposal.warnings)
    assert "few: too small for a validation split" in said
    assert "notes: 1 file is not read (.txt)" in said
    text = (tmp_path / "study.yaml").read_text()
    assert '  # few: {source: {jsonl: "my data/few.jsonl"}}' in text
    assert load_study(tmp_path / "study.yaml").objective == {"licences": 1.0}
    assert all(len(line) < 200 for line in text.splitlines())


def test_a_file_that_is_there_stays(folder, tmp_path):
    (tmp_path / "study.yaml").write_text("mine")
    with pytest.raises(StudyError, match="exists already"):
        init_study(folder, tmp_path / "study.yaml")
    assert (tmp_path / "study.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"target": "poems"}, "no usable domain is called 'poems'"), ({"tokens": 10**12}, "more than 4 epochs")],
)
def test_wrong_wishes_leave_nothing_behind(folder, tmp_path, options, problem):
    with pytest.raises(StudyError, match=problem):
        init_study(folder, tmp_path / "study.yaml", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["my data"]


def test_folders_that_are_no_data(folder, tmp_path):
    with pytest.raises(DocumentError, match="no such folder"):
        init_study(tmp_path / "nowhere", tmp_path / "study.yaml")
    with pytest.raises(DocumentError, match="a mixture needs two"):
        init_study(folder / "notes", tmp_path / "study.yaml")
    (folder / "broken.jsonl").write_text('{"text": "whole"}\n{"text": \n')
    with pytest.raises(DocumentError, match="malformed JSON") as caught:
        init_study(folder, tmp_path / "study.yaml")
    assert caught.value.where.endswith("broken.jsonl:2")


def test_the_field_of_the_text(folder, tmp_path):
    domain = found_domains(folder, tmp_path)[0][0]
    assert text_field_of([{"text": "a", "url": "longer than the text"}], domain)[0] == "text"
    assert text_field_of([{"a": "short", "b": "much longer", "n": 3}], domain)[0] == "b"
    # A field that is missing in one document would stop the reader there.
    assert text_field_of([{"text": "long text", "b": "x"}, {"b": "y"}], domain)[0] == "b"
    with pytest.raises(DocumentError, match="no field holds text in every one"):
        text_field_of([{"n": 1}], domain)


def test_the_command_answers_and_its_file_can_be_planned(folder, tmp_path):
    out = str(tmp_path / "s.yaml")
    answer = CliRunner().invoke(app, ["init", str(folder), "--out", out, "--tokens", "100000", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["target_tokens"] == 100_000
    assert {row["domain"]: row["usable"] for row in found["domains"]}["few"] is False
    planned = json.loads(CliRunner().invoke(app, ["plan", "--study", out, "--teraflops", "1", "--json"]).stdout)
    assert planned["works"][0]["models"] == 72
    again = CliRunner().invoke(app, ["init", str(folder), "--out", out])
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_folders_named_as_yaml_names_other_things(real_text, tmp_path):
    for name, source in (("no", "code"), ("2024", "licences"), ("\u043a\u043d\u0438\u0433\u0438", "descriptions")):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(real_text / f"{source}.jsonl", tmp_path / "data" / name / "part.jsonl")
    init_study(tmp_path / "data", tmp_path / "study.yaml")
    assert set(load_study(tmp_path / "study.yaml").domains) == {"no", "2024", "u43au43du438u433u438"}
