from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


class TokenWriter:
    """Documents as trainers store them, by the layouts that their sources state: ``write(format, tokens, folder)``.

    The libraries themselves write in `consumers/`, and datatrove's own classes wherever they are imported.
    """

    def __init__(self, tokenizer: TokenizerFile) -> None:
        from regmix_pipeline.tokens.tokenizer import load_for_text

        self.tokenizer = load_for_text(tokenizer.path, tokenizer.eos_token)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Each text's tokens, the last of them the end-of-text token."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def write(self, kind: str, documents: list[list[int]], folder: Path, dtype: str = "uint16") -> str:
        """Write documents into a folder; returns what the study file's ``path`` says."""
        folder.mkdir(parents=True, exist_ok=True)
        return getattr(self, f"_{kind}")([np.array(each, dtype) for each in documents], folder, dtype)

    def _olmo(self, documents, folder, dtype):
        for number, part in enumerate((documents[::2], documents[1::2])):
            np.concatenate(part).tofile(folder / f"part-{number}.npy")
        return f"{folder}/*.npy"

    def _numpy(self, documents, folder, dtype):
        np.save(folder / "all.npy", np.concatenate(documents))
        return f"{folder}/all.npy"

    def _datatrove(self, documents, folder, dtype):
        from datatrove.pipeline.tokens.tokenizer import TokenizedFile

        size = np.dtype(dtype).itemsize
        file = TokenizedFile(
            str(folder), "00000.ds", tokenizer_name_or_path="ours", save_final_metadata=True, token_size=size
        )
        for each in documents:
            file.write(each.tolist(), None)
        file.close()
        return f"{folder}/*.ds"

    def _megatron(self, documents, folder, dtype):
        # megatron.core.datasets.indexed_dataset._IndexWriter, with a sequence for each half of a document.
        lengths = np.array([n for each in documents for n in (len(each) // 2, len(each) - len(each) // 2)], "<i4")
        pointers = ((np.cumsum(lengths) - lengths) * np.dtype(dtype).itemsize).astype("<i8")
        edges = np.arange(0, 2 * len(documents) + 1, 2, dtype="<i8")
        head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, {"uint16": 8, "int32": 4}[dtype], len(lengths), len(edges))
        (folder / "text_document.idx").write_bytes(head + lengths.tobytes() + pointers.tobytes() + edges.tobytes())
        np.concatenate(documents).tofile(folder / "text_document.bin")
        return f"{folder}/text_document"

    def _litdata(self, documents, folder, dtype):
        # litdata.streaming.writer.BinaryWriter._create_chunk
        chunks = []
        for number, part in enumerate((documents[: len(documents) // 3], documents[len(documents) // 3 :])):
            sizes = [each.nbytes for each in part]
            offsets = 4 * (2 + len(part)) + np.cumsum([0, *sizes])
            head = np.array([len(part), *offsets], "<u4").tobytes()
            (folder / f"chunk-0-{number}.bin").write_bytes(head + np.concatenate(part).tobytes())
            dim = sum(map(len, part))
            named = {"filename": f"chunk-0-{number}.bin", "chunk_bytes": sum(sizes), "chunk_size": len(part)}
            chunks.append(named | {"dim": dim})
        config = {"compression": None, "data_format": [f"no_header_tensor:{ {'uint16': 20, 'int32': 16}[dtype] }"]}
        (folder / "index.json").write_text(json.dumps({"chunks": chunks, "config": config}))
        return str(folder)


@pytest.fixture(scope="session")
def token_writer(tokenizer):
    return TokenWriter(tokenizer)
