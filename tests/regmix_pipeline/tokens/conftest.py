from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import TokenizerSettings, TokenizerTraining
from regmix_pipeline.tokens.tokenizer import TokenizerFile, ensure_tokenizer

SENTENCE = "the mixture of domains that a proxy has seen decides what it knows about each of them"
WORDS = re.findall(r"\w+", SENTENCE)


@dataclass
class Place:
    """A study's folder with JSONL files in it."""

    base: Path

    def write(self, name: str, texts: list[str]) -> Source:
        """Write ``name``.jsonl and return the source that reads it."""
        lines = [json.dumps({"text": text}) for text in texts]
        (self.base / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
        return Source(jsonl=f"{name}.jsonl")

    @staticmethod
    def sentences(count: int) -> list[str]:
        """``count`` different short texts."""
        return [" ".join(WORDS[n * k % len(WORDS)] for k in range(1, 9)) + f" {n}" for n in range(count)]


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> TokenizerFile:
    """A byte-level BPE of 400 tokens."""
    place = Place(tmp_path_factory.mktemp("tokenizer"))
    source = place.write("books", place.sentences(300))
    settings = TokenizerSettings(train=TokenizerTraining(vocab_size=400))
    readers = {"books": reader(source, place.base, place.base)}
    return ensure_tokenizer(settings, readers, place.base / "tokenizers", place.base, lambda _: None)


@pytest.fixture
def many(place, tokenizer):
    """Sources tokenized through an executor, ``many(sources, tasks=4, workers=2)``: their manifests by name."""
    from regmix_pipeline.documents.observe import observe
    from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings
    from regmix_pipeline.tokens.distribute import Tokenization
    from regmix_pipeline.tokens.source_plan import ShardRequest

    def tokenized(sources, *, folder="many", roles=None, said=None, min_tokens=1, **executor):
        settings = ShardSettings(
            validation_fraction=0.5, seed=3, min_tokens=min_tokens, executor=ExecutorSettings(**executor)
        )
        wanted = [
            ShardRequest(
                name, source, (roles or {}).get(name, "domain"), observe(source, place.base, place.base).version
            )
            for name, source in sources.items()
        ]
        say = (said if said is not None else []).append
        made = Tokenization(place.base, place.base, tokenizer, place.base / folder, settings, say).shards(wanted)
        return {manifest.source: manifest for manifest in made}

    return tokenized


@pytest.fixture
def alone(place, tokenizer):
    """The same sources tokenized one after the other in this process, without any executor."""
    from regmix_pipeline.study.settings.tokens import ShardSettings
    from regmix_pipeline.tokens.shards import make_shard

    def tokenized(sources, *, folder="alone", roles=None):
        settings = ShardSettings(validation_fraction=0.5, seed=3, min_tokens=1)
        where = (place.base, place.base, tokenizer, place.base / folder, settings)
        return {
            name: make_shard(name, source, *where, (roles or {}).get(name, "domain"), say=lambda _: None)
            for name, source in sources.items()
        }

    return tokenized
