"""Token files written by the trainers' own libraries become the shard of their text.

`make test-consumers` runs these in an environment of their own.
"""

import numpy as np
import pytest

from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.manifest import verify_shard
from regmix_pipeline.tokens.shards import make_shard, shard_folder

pytestmark = pytest.mark.consumers

SETTINGS = ShardSettings(validation_fraction=0.3, seed=3, min_tokens=1)


@pytest.fixture
def texts(place):
    return [*place.sentences(300), *place.sentences(5)]


@pytest.fixture
def documents(texts, token_writer):
    return token_writer.tokens(texts)


@pytest.fixture
def is_the_shard_of_the_text(place, texts, tokenizer):
    """``is_the_shard_of_the_text(path, dtype)``: make a shard of token files and compare it with that of the text."""

    def made(name, source):
        settings = (place.base, place.base / "data", tokenizer, place.base / "shards", SETTINGS)
        return make_shard(name, source, *settings, say=lambda line: None)

    def compare(path, dtype="uint16", **stated):
        ours = made("text", place.write("text", texts))
        source = Source.model_validate({"tokens": {"path": str(path), "tokenizer": "ours"} | stated})
        theirs = made("tokens", source)
        assert theirs.dtype == dtype
        assert verify_shard(shard_folder(place.base / "shards", "tokens", theirs.version)) == theirs
        assert theirs.duplicates == ours.duplicates == 5
        for split, held in theirs.splits.items():
            other = ours.splits[split]
            assert (held.tokens, held.documents, held.bytes) == (other.tokens, other.documents, other.bytes)
            assert dtype == "uint32" or held.sha256 == other.sha256

    return compare


@pytest.mark.parametrize(("dtype", "read"), [(np.uint16, "uint16"), (np.int32, "uint32")])
def test_megatron(documents, place, is_the_shard_of_the_text, dtype, read):
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    prefix = f"{place.base}/web_text_document"
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for tokens in documents:
        builder.add_document(torch.tensor(tokens), [len(tokens) // 2, len(tokens) - len(tokens) // 2])
    builder.finalize(f"{prefix}.idx")
    is_the_shard_of_the_text(prefix, read)
    is_the_shard_of_the_text(f"{place.base}/*.bin", read, format="megatron")


@pytest.mark.parametrize(("dtype", "read"), [("uint16", "uint16"), ("int32", "uint32")])
def test_litdata(documents, place, is_the_shard_of_the_text, dtype, read):
    import torch
    from litdata.streaming import Cache, TokensLoader

    folder = place.base / "chunks"
    folder.mkdir()
    cache = Cache(str(folder), chunk_bytes=2_000, item_loader=TokensLoader(8))
    for number, tokens in enumerate(documents):
        cache[number] = torch.tensor(tokens, dtype=getattr(torch, dtype))
    cache.done()
    cache.merge()
    assert len(list(folder.glob("*.bin"))) > 2
    is_the_shard_of_the_text(folder, read)


def test_datatrove(texts, place, tokenizer, is_the_shard_of_the_text):
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer

    step = DocumentTokenizer(
        str(place.base / "ds"), str(tokenizer.path), eos_token=tokenizer.eos_token, shuffle_documents=False
    )
    step.run((Document(text=text, id=str(number)) for number, text in enumerate(texts)), rank=0, world_size=1)
    is_the_shard_of_the_text(f"{place.base}/ds/*.ds")


def test_olmo_core_reads_what_we_read(documents, place, is_the_shard_of_the_text):
    from olmo_core.data import NumpyDatasetDType
    from olmo_core.data.utils import iter_document_indices

    path = place.base / "part-0-00000.npy"
    flat = np.concatenate([np.array(tokens, np.uint16) for tokens in documents])
    memory = np.memmap(path, mode="w+", dtype=NumpyDatasetDType.uint16.as_np_dtype(), shape=flat.shape)
    memory[:] = flat
    memory.flush()
    found = list(iter_document_indices(path, eos_token_id=0, dtype=np.uint16))
    assert [end - start for start, end in found] == [len(tokens) for tokens in documents]
    is_the_shard_of_the_text(path)
