"""Text and tokenizers of the Hugging Face Hub, by the real command against a stand-in on this machine."""

import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.study.settings.documents import Source

EOS = "<|endoftext|>"


def tokenizer_of(text, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    return tokenizer.to_str().encode()


@pytest.fixture
def repository(hub, real_text):
    """A data set of two domains and more: JSON lines and Parquet, in folders."""
    text = (real_text / "licences.jsonl").read_bytes()
    texts = [json.loads(line)["text"] for line in (real_text / "code.jsonl").read_text().splitlines()]
    table = io.BytesIO()
    pq.write_table(pa.table({"id": [str(number) for number in range(len(texts))], "content": texts}), table)
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    files = {
        "licences/a.jsonl": b"".join(lines[:half]),
        "licences/b.jsonl": b"".join(lines[half:]),
        "code/train-00000-of-00001.parquet": table.getvalue(),
        "README.md": b"# a card",
    }
    return hub.add("datasets", "team/mix", files)


@pytest.fixture
def study(hub, repository, tmp_path, quick_settings, real_text):
    """A tiny study of the data set, with a tokenizer of the Hub."""
    model = hub.add("models", "team/tok", {"tokenizer.json": tokenizer_of((real_text / "code.jsonl").read_text(), 400)})
    address = "hf://datasets/team/mix"
    settings = quick_settings | {
        "domains": {
            "licences": {"source": {"jsonl": f"{address}/licences/*.jsonl"}},
            "code": {"source": {"parquet": f"{address}/code/*.parquet", "text_field": "content"}},
        },
        "targets": {"code": {"weight": 1}},
        "tokenizer": {"hub": "team/tok"},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return model


def tiny(tmp_path):
    return Workspace(tmp_path / "tiny.yaml", tmp_path / "home", say=lambda line: None)


WITHOUT_TRAINING = ("refit", "--study", "tiny.yaml", "--home", "home", "--max-new-tokens", "0")
STATUS = ("status", "--study", "tiny.yaml", "--home", "home")


def test_text_and_tokenizer_come_from_the_hub_and_a_look_reads_no_content(study, repository, hub, regmix, tmp_path):
    regmix(*WITHOUT_TRAINING)
    assert hub.contents()
    workspace = tiny(tmp_path)
    rows = {row["source"]: row for row in workspace.json("domain_inventory")["sources"]}
    assert rows["code"]["train_documents"] > 10 < rows["licences"]["train_documents"]
    facts = workspace.need("tokenizer").facts
    assert (facts["commit"], facts["vocabulary"]) == (study.branches["main"], 400)
    assert "commit" in json.loads((tmp_path / "home" / facts["path"]).with_name("tokenizer.info.json").read_text())

    # The Hub's checksums are versions: the same as of files with the same content on a disk.
    (tmp_path / "copy").mkdir()
    for path, content in repository.at("main")[1].items():
        if path.startswith("licences/"):
            (tmp_path / "copy" / path.rpartition("/")[2]).write_bytes(content)
    here = observe(Source(jsonl="copy/*.jsonl"), tmp_path, tmp_path / "data")
    assert workspace.need("documents", "licences").version == here.version

    assert "documents 2 made, 0 stale" in " ".join(regmix(*STATUS).split())
    assert hub.contents() == []

    # A new commit of other files changes nothing; one of other text is seen, and still nothing is read.
    files = repository.at("main")[1]
    repository.commit(files | {"README.md": b"# another card"})
    assert "licences (changed" not in regmix(*STATUS)
    repository.commit(files | {"licences/b.jsonl": files["licences/a.jsonl"]})
    assert "licences (changed" in regmix(*STATUS)
    assert hub.contents() == []


MAKE_TOKENIZER = """
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.tokens.stage import TOKENIZER

for stage in (DOCUMENTS, TOKENIZER):
    for made in Workspace("tiny.yaml", "home").materialise(stage):
        assert made.error is None, made.error
"""


def test_a_tokenizer_keeps_its_commit_until_another_is_asked_for(study, regmix, run_here, tmp_path, real_text):
    run_here(MAKE_TOKENIZER)
    before = tiny(tmp_path).need("tokenizer")
    old = study.branches["main"]
    new = study.commit({"tokenizer.json": tokenizer_of((real_text / "licences.jsonl").read_text(), 300)})
    said = " ".join(regmix(*STATUS).split())
    assert f"main of team/tok has moved from {old[:12]} to {new[:12]}" in said
    assert f"tokenizer.revision: {new}" in said
    # Even where its file was lost, the commit on record is fetched again.
    shutil.rmtree(tmp_path / "home" / "tokenizers")
    shutil.rmtree(tmp_path / "hf")
    run_here(MAKE_TOKENIZER)
    again = tiny(tmp_path).need("tokenizer")
    assert (again.version, again.facts["commit"]) == (before.version, old)

    said = regmix(*STATUS, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in said

    path = tmp_path / "tiny.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["tokenizer"]["revision"] = new
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    run_here(MAKE_TOKENIZER)
    taken = tiny(tmp_path).need("tokenizer")
    assert (taken.facts["commit"], taken.facts["vocabulary"]) == (new, 300)
    assert "has moved" not in regmix(*STATUS)


def test_init_writes_a_study_of_an_address(study, regmix, tmp_path):
    said = regmix("init", "hf://datasets/team/mix", "--out", "mine.yaml")
    assert "2 domains" in said
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert {name: domain["source"] for name, domain in written["domains"].items()} == {
        "code": {"parquet": "hf://datasets/team/mix/code/*.parquet", "text_field": "content"},
        "licences": {"jsonl": "hf://datasets/team/mix/licences/*.jsonl"},
    }


ERRORS = """
from pathlib import Path
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.hub import commit_of, fetched_file
from regmix_pipeline.study.settings.documents import Source

def said(name, act):
    try:
        act()
    except RegmixError as error:
        print(f"{name}: {error.where}: {error.problem} -> {error.remedy}")

def read(address):
    kind = "parquet" if address.endswith("parquet") else "jsonl"
    return lambda: next(iter(reader(Source(**{kind: address}), Path(), Path()).run()))

said("missing", read("hf://datasets/team/none/*.jsonl"))
said("branch", read("hf://datasets/team/mix@dev/licences/*.jsonl"))
said("folder", read("hf://datasets/team/mix/poems/*.jsonl"))
said("gated", read("hf://datasets/team/gated/*.jsonl"))
said("gated parquet", read("hf://datasets/team/gated/*.parquet"))
said("no tokenizer", lambda: commit_of("team/none", None))
said("no file", lambda: fetched_file("team/tok", commit_of("team/tok", None), "vocab.json"))
said("gated tokenizer", lambda: fetched_file("team/secret", commit_of("team/secret", None), "tokenizer.json"))
"""


def test_what_the_hub_refuses_is_named_with_its_remedy(study, hub, tmp_path, regmix, run_here):
    hub.add("datasets", "team/gated", {"a.jsonl": b'{"text": "x"}\n' * 40, "b.parquet": bytes(400)}, gated=True)
    hub.add("models", "team/secret", {"tokenizer.json": b"{}"}, gated=True)
    said = dict(line.split(": ", 1) for line in run_here(ERRORS).splitlines())
    assert "no such repository, or it is private" in said["missing"]
    assert "hf auth login" in said["missing"]
    assert "no such branch" in said["branch"]
    assert "no file matches" in said["folder"]
    for name in ("gated", "gated parquet", "gated tokenizer"):
        assert "the repository is gated -> ask for access" in said[name]
    assert "no such repository" in said["no tokenizer"]
    assert "has no such file" in said["no file"]
    assert "is gated" not in run_here(ERRORS, HF_TOKEN="hf_allowed")

    said = regmix("init", "hf://datasets/team/mix", "--out", "x.yaml", status=1, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in said
    said = regmix("init", "hf://datasets/team/mix", "--out", "x.yaml", status=1, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the Hugging Face Hub cannot be reached" in said
    assert not (tmp_path / "x.yaml").exists()
