"""A study over tokens that exist, by the real command: it leads to the decision of their text, and notices a change."""

import json
import os

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from regmix_pipeline.engine.workspace import Workspace

EOS = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer_file(made_once, real_text):
    """A byte-level tokenizer of 512 tokens, as a trainer would already have one."""

    def make(folder):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=512,
            special_tokens=[EOS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator((real_text / "code.jsonl").read_text()[:100_000].splitlines(), trainer)
        tokenizer.save(str(folder / "tokenizer.json"))

    return made_once("tokens-tokenizer", make) / "tokenizer.json"


def documents_of(path, tokenizer):
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    return [[*encoding.ids, tokenizer.token_to_id(EOS)] for encoding in tokenizer.encode_batch(texts)]


def as_datatrove(documents, folder):
    folder.mkdir()
    flat = np.concatenate([np.array(each, np.uint16) for each in documents])
    flat.tofile(folder / "all.ds")
    np.cumsum([len(each) for each in documents]).astype("<u8").tofile(folder / "all.ds.index")
    return "all.ds"


def as_olmo(documents, folder):
    folder.mkdir()
    half = len(documents) // 2
    for number, part in enumerate((documents[:half], documents[half:])):
        np.concatenate([np.array(each, np.uint16) for each in part]).tofile(folder / f"part-{number}.npy")
    return "*.npy"


@pytest.fixture
def token_study(tmp_path, real_text, quick_settings, tokenizer_file):
    """The tiny study over tokens alone but for one domain of text, and the same over text; both in folders."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.encode_special_tokens = True
    settings = quick_settings | {
        "tokenizer": {"file": str(tokenizer_file), "name": "ours"},
        "mixtures": {"count": 8, "minimum": 0.05, "anchors": {"natural": True}},
        "proxies": quick_settings["proxies"]
        | {"noise": {"mixtures": 0}, "training": {"tokens": 16_384, "windows_per_step": 16, "learning_rate": 0.02}},
        "regression": {"regressors": ["linear"]},
    }
    tokens = json.loads(json.dumps(settings))
    for name, write in (("licences", as_datatrove), ("descriptions", as_olmo), ("science", as_datatrove)):
        pattern = write(documents_of(real_text / f"{name}.jsonl", tokenizer), tmp_path / name)
        source = {"tokens": {"path": f"../{name}/{pattern}", "tokenizer": "ours", "dtype": "uint16"}}
        (tokens["targets"] if name == "science" else tokens["domains"])[name]["source"] = source
    for folder, each in (("tokens", tokens), ("text", settings)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text").symlink_to(real_text)
        (tmp_path / folder / "tiny.yaml").write_text(yaml.safe_dump(each, sort_keys=False))
    return tmp_path


def test_tokens_lead_to_a_decision_without_a_copy_and_a_changed_file_is_noticed(token_study, study_in):
    study = study_in(token_study / "tokens")
    study.does("run")
    workspace = Workspace(study.folder / "tiny.yaml", study.home, say=lambda line: None)
    assert sum(workspace.json("mixture_decision")["mixture"]["weights"].values()) == pytest.approx(1)
    # The only files of tokens in the home are those of the domain of text.
    assert {path.parent.parent.name for path in study.home.glob("shards/*/*/*.ds")} == {"code"}
    coverage = workspace.json("text_checks")["coverage"]
    assert {row["source"] for row in coverage if row["lost"] is None} == {"licences", "descriptions", "science"}

    changed = token_study / "descriptions" / "part-0.npy"
    tokens = np.fromfile(changed, np.uint16)
    tokens[1:50] = 300
    times = changed.stat()
    tokens.tofile(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    audit = study.does("audit", status=1)
    assert "part-0.npy: was altered after the shard was made that reads it" in audit
    assert "token_shards/descriptions" in audit


def without_versions(rows):
    return [{key: value for key, value in row.items() if not key.endswith("version")} for row in rows]


@pytest.mark.slow
def test_tokens_lead_to_the_decision_of_their_text(token_study, study_in):
    made = {}
    for folder in ("text", "tokens"):
        study = study_in(token_study / folder)
        study.does("run")
        made[folder] = Workspace(study.folder / "tiny.yaml", study.home, say=lambda line: None)
    decided = {folder: each.json("mixture_decision") for folder, each in made.items()}
    for part in ("mixture", "domains", "predictions"):
        assert decided["tokens"][part] == decided["text"][part]
    # Every number of the inventory is as of text: tokens, documents, bytes, duplicates, caps.
    rows = {folder: without_versions(each.json("domain_inventory")["sources"]) for folder, each in made.items()}
    assert rows["tokens"] == rows["text"]
    shares = {
        folder: {
            (row["domain"], row["target"]): (row["documents"], row["runs"])
            for row in each.json("text_checks")["overlap"]
        }
        for folder, each in made.items()
    }
    assert shares["tokens"] == shares["text"]
    study = study_in(token_study / "tokens")
    assert "stale · " not in study.does("status")
    study.does("audit")
    study.does("export", "--format", "olmo-core", "--unapproved", "--out", str(token_study / "mixture.yaml"))
    exported = {
        row["source_name"]: row["paths"]
        for row in yaml.safe_load((token_study / "mixture.yaml").read_text())["sources"]
    }
    assert exported["descriptions"] == [str(token_study / "descriptions" / f"part-{n}.npy") for n in (0, 1)]
    assert exported["licences"] == [str(token_study / "licences" / "all.ds")]
    said = study.does("export", "--format", "hf", "--unapproved", "--out", str(token_study / "m.json"), status=1)
    assert "is tokenised already, which no loader of text finds by address" in said

    # Moved files of the same content are the same version: nothing is trained again.
    (token_study / "licences").rename(token_study / "elsewhere")
    path = study.folder / "tiny.yaml"
    path.write_text(path.read_text().replace("../licences/", "../elsewhere/"))
    assert "proxies to train" not in study.does("run")
    assert str(token_study / "elsewhere") in next(study.home.glob("shards/licences/*/paths.json")).read_text()
    study.does("audit")
