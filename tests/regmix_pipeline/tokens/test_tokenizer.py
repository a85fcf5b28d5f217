from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tokenizers import AddedToken, Tokenizer, models

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import TokenizerSettings, TokenizerTraining
from regmix_pipeline.tokens.tokenizer import ensure_tokenizer, load, tokenizer_version

TEXTS = ["Zwölf Boxkämpfer\n\tjagen", "naïve 漢字 🙂", "  spaces  ", "x = {'a': 1}\n"]


def trained(place, settings=None, readers=None, folder="tokenizers"):
    settings = settings or TokenizerTraining(vocab_size=300)
    return ensure_tokenizer(
        TokenizerSettings(train=settings), readers or {}, place.base / folder, place.base, lambda _: None
    )


def readers_of(place, **texts):
    sources = {name: place.write(name, lines) for name, lines in texts.items()}
    return {name: reader(source, place.base, place.base) for name, source in sources.items()}


def test_trained_on_the_beginning_of_each_domain(place):
    readers = readers_of(place, books=["aé" * 10, "never reached"], code=["def f(): pass"])
    made = trained(place, TokenizerTraining(vocab_size=300, bytes_per_domain=26), readers)
    info = json.loads((made.path.parent / "tokenizer.info.json").read_text())
    assert made.trained_on == info["trained_on"]
    assert {name: (part["documents"], part["bytes"]) for name, part in info["trained_on"].items()} == {
        "books": (1, 26),
        "code": (1, 13),
    }
    assert info["version"] == made.version == tokenizer_version(made.path)
    assert made.vocab_size == info["vocab_size"] == load(made.path).get_vocab_size()
    assert (made.eos_token, made.eos_id, made.dtype) == ("<|endoftext|>", 0, "uint16")


def test_any_text_comes_back(tokenizer):
    encoder = load(tokenizer.path)
    for text in TEXTS:
        assert encoder.decode(encoder.encode(text).ids) == text


def test_frozen_once_trained(place):
    readers = readers_of(place, books=["the first words " * 30])
    first = trained(place, readers=readers)
    assert trained(place, readers={"books": None}) == first  # type: ignore[dict-item] # would fail if called
    readers = readers_of(place, books=["other words entirely " * 30], more=["a new domain"])
    assert trained(place, readers=readers).version == first.version

    other = trained(place, TokenizerTraining(vocab_size=301), readers)
    assert other.path != first.path


def test_only_the_listed_domains(place):
    readers = readers_of(place, books=["b " * 99], code=["c " * 99])
    made = trained(place, TokenizerTraining(vocab_size=300, domains=("code",)), readers)
    assert list(made.trained_on or {}) == ["code"]
    with pytest.raises(TokenError, match="no domain 'music'") as caught:
        trained(place, TokenizerTraining(vocab_size=300, domains=("music",)), readers)
    assert "books, code" in caught.value.remedy


def test_no_text_to_train_on(place):
    readers = readers_of(place, books=[" "])
    with pytest.raises(DocumentError, match="no text to train the tokenizer on"):
        trained(place, readers=readers)
    assert list((place.base / "tokenizers").iterdir()) == []


def test_an_altered_frozen_tokenizer(place):
    readers = readers_of(place, books=["the first words " * 30])
    made = trained(place, readers=readers)
    made.path.write_text(made.path.read_text() + " ")
    with pytest.raises(TokenError, match="altered after its training") as caught:
        trained(place, readers=readers)
    assert caught.value.where == str(made.path)


TRAIN_ON_REAL_TEXT = """
import sys
from pathlib import Path
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import TokenizerSettings, TokenizerTraining
from regmix_pipeline.tokens.tokenizer import ensure_tokenizer
data, folder = map(Path, sys.argv[1:])
readers = {"code_python": reader(Source(corpus="code_python"), data, data)}
settings = TokenizerSettings(train=TokenizerTraining(vocab_size=2000, bytes_per_domain=500_000))
print(ensure_tokenizer(settings, readers, folder, data).version)
"""


def test_training_is_the_same_in_every_process(tmp_path):
    versions = set()
    for run in range(3):
        command = [sys.executable, "-c", TRAIN_ON_REAL_TEXT, str(tmp_path), str(tmp_path / str(run))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        versions.add(done.stdout.strip())
    assert len(versions) == 1


def given(place, name="tokenizer.json", **settings):
    return ensure_tokenizer(TokenizerSettings(file=name, **settings), {}, place.base / "t", place.base)


def test_a_given_file(place, tokenizer):
    (place.base / "tokenizer.json").write_bytes(tokenizer.path.read_bytes())
    found = given(place)
    assert found.path == place.base / "tokenizer.json"
    assert (found.version, found.eos_id, found.trained_on) == (tokenizer.version, 0, None)
    assert given(place, str(tokenizer.path)).version == tokenizer.version


def test_gaps_in_the_ids_count(place):
    vocabulary = {"a": 0, "b": 70_000, "<|endoftext|>": 1}
    Tokenizer(models.WordLevel(vocabulary, unk_token="a")).save(str(place.base / "tokenizer.json"))
    found = given(place)
    assert (found.vocab_size, found.dtype, found.eos_id) == (70_001, "uint32", 1)


def test_a_missing_file(place, tokenizer):
    with pytest.raises(TokenError, match="no such tokenizer file") as caught:
        given(place, "absent.json")
    assert caught.value.where == str(place.base / "absent.json")
    with pytest.raises(TokenError, match="is a folder") as caught:
        given(place, str(tokenizer.path.parent))
    assert caught.value.remedy == f"give {tokenizer.path}"


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe", b"[]"])
def test_not_a_tokenizer(place, content):
    (place.base / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenError, match="is not a tokenizer") as caught:
        given(place)
    assert caught.value.where == str(place.base / "tokenizer.json")


def test_an_unknown_eos_token(place):
    other = Tokenizer(models.BPE())
    other.add_special_tokens([AddedToken("</s>", special=True)])
    other.save(str(place.base / "tokenizer.json"))
    with pytest.raises(TokenError, match=r"has no token '<\|endoftext\|>'") as caught:
        given(place)
    assert "</s>" in caught.value.remedy
    assert given(place, eos_token="</s>").eos_id == 0


def test_sources_may_be_any_callable(place):
    place.write("books", ["some words " * 50])
    source = Source(jsonl="books.jsonl")
    made = trained(place, readers={"books": lambda: reader(source, place.base, place.base)()})
    assert made.vocab_size > 257


def test_facts_of_a_frozen_tokenizer_that_are_lost_are_made_again(place):
    first = trained(place, readers=readers_of(place, code=TEXTS))
    facts = first.path.with_name("tokenizer.info.json")
    before = facts.read_bytes()
    facts.unlink()
    assert trained(place, readers=readers_of(place, code=TEXTS)).version == first.version
    assert facts.read_bytes() == before
