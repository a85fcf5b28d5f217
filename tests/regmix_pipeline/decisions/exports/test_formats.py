"""What is exported, from a study that was really run: numbers, addresses, approval, and refusals that leave nothing."""

import gzip
import json
import runpy
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from regmix_pipeline.cli import app
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.stage import regmix_yaml
from regmix_pipeline.decisions.verdicts import add_verdict
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, MixtureError, StudyError, TokenError
from regmix_pipeline.exports.decided import export_decision
from regmix_pipeline.files import read_json
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.formats.export import Export, Origin, counts_of

ANYWHERE = "s3://bucket/{domain}"


def template_for(name):
    return {"mixtera": "domain:{domain}", "regmix": None}.get(name, ANYWHERE)


def _lines(path):
    return Path(path).read_text(encoding="utf-8").splitlines()


def text_of(written):
    return "".join(path.read_text() for path in written.files)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_decision_its_standing_and_the_date(workspace, decision, export, name):
    written = export(name, template=template_for(name))
    about = written.export.about()
    said = text_of(written)
    assert decision["decision"] in said
    assert "NOT APPROVED: nobody has approved this decision" in said
    assert about["exported_at"] in said
    add_verdict(workspace, decision, "rejected", "the books are too old", "Ada", "test")
    assert "NOT APPROVED: rejected by Ada on" in text_of(export(name, template=template_for(name)))
    add_verdict(workspace, decision, "approved", "new books came", "Ada", "test")
    said = text_of(export(name, template=template_for(name), unapproved=False))
    assert "approved by Ada on" in said
    assert "NOT APPROVED" not in said


@pytest.mark.parametrize("name", FORMATS)
def test_a_decision_that_nobody_approved_is_not_exported(export, tmp_path, name):
    with pytest.raises(LedgerError, match="not approved") as caught:
        export(name, template=template_for(name), unapproved=False)
    assert "--unapproved" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_decision_that_was_changed_after_its_approval_is_not_exported(workspace, decision, export, tmp_path):
    add_verdict(workspace, decision, "approved", "fits", "Ada", "test")
    path = workspace.path("decisions", decision["decision"], "decision.json")
    path.write_text(path.read_text().replace(decision["summary"], "Train on what you like."))
    with pytest.raises(LedgerError, match="another text"):
        export("regmix", unapproved=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_the_plan_beside_sums_to_the_budget(export, decision, name):
    written = export(name, template=template_for(name), tokens=123_457)
    plan = read_json(written.files[-1])
    assert sum(row["tokens"] for row in plan["files"]) == sum(row["tokens"] for row in plan["domains"]) == 123_457
    weights = decision["mixture"]["weights"]
    assert {row["domain"]: row["share"] for row in plan["domains"]} == pytest.approx(weights, abs=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_budget_that_breaks_a_cap_is_refused_and_nothing_is_written(export, tmp_path, name):
    with pytest.raises(MixtureError, match=r"domains\.\w+: .* epochs break the cap of 4"):
        export(name, template=template_for(name), tokens=10**12)
    assert not (tmp_path / "out").exists()


def test_regmix_is_as_before_with_the_standing_on_top(export, decision):
    main = export("regmix").files[0]
    assert yaml.safe_load(main.read_text()) == yaml.safe_load(regmix_yaml(decision))
    assert yaml.safe_load(main.read_text())["train"]["train_code"] == decision["mixture"]["weights"]["code"]


def test_olmo_core_gets_the_studys_own_shards_and_limit(workspace, export, decision):
    sources = yaml.safe_load(export("olmo-core").files[0].read_text())["sources"]
    assert {one["source_name"]: one["target_ratio"] for one in sources} == decision["mixture"]["weights"]
    for one in sources:
        assert one["max_repetition_ratio"] == decision["limits"]["max_epochs"]
        available = next(row for row in decision["domains"] if row["domain"] == one["source_name"])["available_tokens"]
        assert [np.memmap(path, np.uint16, "r").size for path in one["paths"]] == [available]


def test_shards_that_are_gone_are_named_with_what_to_give_instead(workspace, export):
    for path in workspace.path("shards", "code").iterdir():
        path.rename(path.with_name("elsewhere"))
    with pytest.raises(LedgerError, match=r"domains\.code.*not here") as caught:
        export("olmo-core")
    assert "--data" in caught.value.remedy
    assert export("olmo-core", template="s3://bucket/{domain}/*.npy").files


def test_token_files_on_this_machine_are_counted_one_by_one(export, tmp_path):
    for domain in ("code", "licences", "descriptions"):
        (tmp_path / "big" / domain).mkdir(parents=True)
        for number, tokens in enumerate((1_000, 3_000)):
            np.zeros(tokens * 100, np.uint16).tofile(tmp_path / "big" / domain / f"{number}.npy")
    written = export("olmo-core", template=f"{tmp_path}/big/{{domain}}/*.npy", tokens=500_001)
    plan = read_json(written.files[-1])
    assert len(plan["files"]) == 6
    assert {row["available_tokens"] for row in plan["files"]} == {100_000, 300_000}
    assert {row["available_tokens"] for row in plan["domains"]} == {400_000}
    for row in plan["files"]:
        assert row["whole_epochs"] * row["available_tokens"] + row["partial_epoch_tokens"] == row["tokens"]


def test_megatrons_file_is_weights_and_prefixes_alone(export, decision):
    main, beside, _ = export("megatron", template="/data/{domain}_text_document.bin").files
    words = main.read_text().split()
    assert dict(zip(words[1::2], map(float, words[0::2]), strict=True)) == {
        f"/data/{domain}_text_document": weight for domain, weight in decision["mixture"]["weights"].items()
    }
    assert yaml.safe_load(beside.read_text())["data_path"] == words


def test_megatron_cannot_read_a_path_with_a_space_or_an_index_that_is_none(export, tmp_path):
    with pytest.raises(StudyError, match="white space"):
        export("megatron", template="/my data/{domain}")
    (tmp_path / "code.idx").write_bytes(b"something else altogether")
    (tmp_path / "code.bin").write_bytes(b"12345678")
    with pytest.raises(TokenError, match=r"code\.idx.*not the index"):
        export("megatron", template=f"{tmp_path}/{{domain}}")
    (tmp_path / "code.idx").write_bytes(b"MMIDIDX\x00\x00" + struct.pack("<QB", 1, 8) + bytes(16))
    plan = read_json(export("megatron", template=f"{tmp_path}/{{domain}}", tokens=40).files[-1])
    assert {row["domain"]: row["available_tokens"] for row in plan["domains"]}["code"] == 4


def test_probabilities_of_documents_give_the_decided_shares_of_tokens(workspace, export, decision):
    written = export("hf")
    content = read_json(written.files[0])
    with read_ledger(workspace.ledger) as connection:
        means = dict(
            connection.execute(
                "select source, train_tokens / train_documents from domain_inventory where role = 'domain'"
            ).fetchall()
        )
    tokens = np.array(content["probabilities"]) * [means[name] for name in content["names"]]
    shares = dict(zip(content["names"], tokens / tokens.sum(), strict=True))
    assert shares == pytest.approx(decision["mixture"]["weights"])
    assert sum(content["probabilities"]) == pytest.approx(1)
    # Documents of the four kinds differ in length, or the conversion would show nothing.
    assert content["probabilities"] != pytest.approx(content["token_shares"], rel=0.01)
    packed = read_json(export("hf", documents=False).files[0])
    assert packed["probabilities"] == packed["token_shares"] == list(decision["mixture"]["weights"].values())
    assert "shares of documents" in content["counts"]
    assert "equally many tokens" in packed["counts"]


def test_text_that_changed_since_the_decision_is_not_exported(workspace, export):
    from regmix_pipeline.documents.stage import DOCUMENTS

    path = workspace.base / "text" / "code.jsonl"
    path.write_text(path.read_text() + json.dumps({"id": "new", "text": "import this " * 30}) + "\n")
    list(workspace.materialise(DOCUMENTS))
    with pytest.raises(LedgerError, match=r"domains\.code.*no longer those"):
        export("hf")


def test_an_address_below_the_users_home_is_written_as_the_path_that_was_read(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(workspace.base))
    settings = yaml.safe_load(workspace.study_file.read_text())
    settings["domains"]["code"]["source"]["jsonl"] = "~/text/code.jsonl"
    workspace.study_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    moved = Workspace(workspace.study_file, workspace.home, workspace.data, say=lambda line: None)
    written = export_decision(moved, None, "hf", out=tmp_path / "mixture.hf", unapproved=True)
    assert str(workspace.base / "text" / "code.jsonl") in written.files[0].read_text()


@pytest.mark.parametrize("name", ["megatron", "litgpt", "streaming"])
def test_a_format_that_cannot_read_the_studys_own_data_says_what_to_give(export, name):
    with pytest.raises(LedgerError, match="cannot read") as caught:
        export(name)
    assert "{domain}" in caught.value.remedy


@pytest.mark.parametrize("template", ["s3://bucket/all", "s3://bucket/{name}", "{domain}/{split}"])
def test_a_template_names_the_domain_and_nothing_else(export, template):
    with pytest.raises(StudyError, match=r"\{domain\} is wanted"):
        export("streaming", template=template)


def test_streams_are_given_where_to_read_and_where_to_keep(export, decision):
    streams = yaml.safe_load(export("streaming", template="s3://b/{domain}").files[0].read_text())["streams"]
    assert {name: stream["proportion"] for name, stream in streams.items()} == decision["mixture"]["weights"]
    assert streams["code"]["remote"] == "s3://b/code"
    local = yaml.safe_load(export("streaming", template="/b/{domain}").files[0].read_text())["streams"]
    assert local["code"].keys() == {"local", "proportion"}


def test_mixtera_is_given_the_property_and_the_least_chunk(export, decision):
    text = export("mixtera", template="pile_set_name:the {domain}").files[0].read_text()
    assert 'PROPERTY = "pile_set_name"' in text
    assert '"the code"' in text
    compile(text, "mixtera.py", "exec")
    with pytest.raises(StudyError, match="property"):
        export("mixtera", template="s3://bucket/{domain}")


def test_unknown_formats_and_useless_options_are_refused(export, tmp_path):
    with pytest.raises(StudyError, match="no such format") as caught:
        export("tensorflow")
    assert "olmo-core" in caught.value.remedy
    with pytest.raises(StudyError, match="always counts tokens"):
        export("megatron", template=ANYWHERE, documents=True)
    with pytest.raises(StudyError, match="are not a budget"):
        export("regmix", tokens=0)
    with pytest.raises(StudyError, match="is a folder"):
        export("regmix", out=tmp_path)


def test_the_command_answers_in_a_table_and_in_json(workspace, decision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = ["--study", str(workspace.study_file), "--home", str(workspace.home)]
    refused = CliRunner().invoke(app, ["export", *study, "--format", "olmo-core"])
    assert refused.exit_code == 1
    assert "not approved" in refused.stderr
    mistaken = CliRunner().invoke(app, ["export", *study, "olmo-core"])
    assert mistaken.exit_code == 1
    assert "--format olmo-core" in mistaken.stderr
    said = CliRunner().invoke(app, ["approve", *study, "--reason", "fits", "--by", "Ada"])
    assert said.exit_code == 0, said.output
    shown = CliRunner().invoke(app, ["export", *study, "--format", "olmo-core"])
    assert shown.exit_code == 0, shown.output
    assert "approved by Ada" in shown.stdout
    assert (tmp_path / f"{decision['decision']}_olmo_core.yaml").is_file()
    asked = [decision["decision"][:6], "--format", "olmo-core", "--tokens", "5000", "--json"]
    answer = json.loads(CliRunner().invoke(app, ["export", *asked, *study]).stdout)
    assert answer["approved"]
    assert answer["weights"] == find_decision(workspace)["mixture"]["weights"]
    assert sum(row["tokens"] for row in answer["domains"]) == answer["budget"] == 5000


def test_datasets_draws_with_the_exported_probabilities(export, decision, tmp_path):
    """The loader beside the export, run as it is, over the study's own text."""
    pytest.importorskip("datasets")
    written = export("hf", out=tmp_path / "my.mixture")
    content = read_json(written.files[0])
    texts = {
        name: {json.loads(line)["text"] for line in _lines(content["data"][name]["files"][0])}
        for name in content["names"]
    }
    loader = runpy.run_path(str(written.files[1]))
    drawn = [document["text"] for document in loader["load"]().take(3_000)]
    for name, probability in zip(content["names"], content["probabilities"], strict=True):
        share = np.mean([text in texts[name] for text in drawn])
        # Three standard errors of a share out of 3,000 draws.
        assert abs(share - probability) < 3 * np.sqrt(probability * (1 - probability) / len(drawn)) + 1e-9


def test_the_loader_reads_the_text_alone_of_odd_files(export, tmp_path):
    pytest.importorskip("datasets")
    loader = runpy.run_path(str(export("hf").files[1]))
    folder = tmp_path / "odd [1]*"
    folder.mkdir()
    lines = [{"text": "one", "meta": 1}, {"text": "two", "meta": "a"}, {"text": "", "other": None}, {"text": "three"}]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "a.jsonl").write_text("\ufeff" + content + "\n" + '{"score": NaN, "text": "four"}\n')
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    for name, kind in (("c", pa.large_string()), ("d", pa.string_view())):
        table = pa.table({"text": pa.array(["five", None, " "], kind), "id": pa.array([1, 2, 3])})
        pq.write_table(table, folder / f"{name}.parquet")
    read = loader["texts"]([str(folder / name) for name in ("a.jsonl", "b.jsonl.gz")], "json", "text")
    assert [each["text"] for each in read] == ["one", "two", "three", "four", "one", "two", "three"]
    read = loader["texts"]([str(folder / f"{name}.parquet") for name in "cd"], "parquet", "text")
    assert [each["text"] for each in read] == ["five", "five"]


def test_shares_of_documents_need_every_mean():
    data = {
        "web": DomainData((DataFile("w"),), None, tokens_per_document=500.0),
        "code": DomainData((DataFile("c"),), 9),
    }
    nowhere, mixture = Origin("d", {}, ()), {"web": 0.5, "code": 0.5}
    unknown = Export(nowhere, mixture, {}, data, documents=True)
    assert unknown.shares == {"web": 0.5, "code": 0.5}
    assert "does not know the mean tokens" in counts_of(unknown)
    known = Export(
        nowhere, mixture, {}, data | {"code": replace(data["code"], tokens_per_document=1_500.0)}, documents=True
    )
    assert known.shares == pytest.approx({"web": 0.75, "code": 0.25})
