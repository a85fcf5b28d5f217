"""Documents on a real S3 server, tokenized by tasks here, and shards that go through a store there."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.tokens import executors


@pytest.fixture
def bucket(s3, tmp_path):
    """A place of this test's own on S3, and the file system that reaches it."""
    from fsspec.core import url_to_fs

    address = f"{s3}/{tmp_path.name}"
    return address, url_to_fs(address)[0]


def lines(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


@pytest.fixture
def both(place, bucket):
    """The same documents, as JSONL and as Parquet, on this disk and on S3: local sources, and those on S3."""
    address, files = bucket
    texts = place.sentences(120)
    held = [[*texts[:50], texts[3], " "], [], [*texts[30:90], texts[0]], texts[80:]]
    for number, each in enumerate(held):
        (place.base / "books").mkdir(exist_ok=True)
        (place.base / "books" / f"{number}.jsonl").write_bytes(lines(each))
        (place.base / "web").mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": pa.array(each, pa.string())}), place.base / "web" / f"{number}.parquet")
    for name in ("books", "web"):
        files.put(f"{place.base}/{name}/", f"{address}/{name}/", recursive=True)
    return tuple(
        {"books": Source(jsonl=f"{base}books/*.jsonl"), "web": Source(parquet=f"{base}web/*.parquet")}
        for base in ("", f"{address}/")
    )


def tokens(folder):
    """Every token file under a folder of shards, by source and name."""
    found = sorted(folder.rglob("*.ds*"))
    return {(path.relative_to(folder).parts[0], path.name): path.read_bytes() for path in found}


def test_documents_on_s3_give_the_bytes_of_the_same_documents_here(place, both, many, alone):
    here, there = both
    said = []
    one, made = alone(here), many(there, said=said, tasks=2, workers=2)
    assert "4 parts of 2 sources, executor local" in said[0]
    # A disk has checksums of contents and S3 has ETags, so documents and shards have other versions; the rest is equal.
    assert [each.model_copy(update={"version": "", "documents_version": ""}) for each in made.values()] == [
        each.model_copy(update={"version": "", "documents_version": ""}) for each in one.values()
    ]
    assert len(tokens(place.base / "many")) == 8
    assert tokens(place.base / "many") == tokens(place.base / "alone")
    # One process that reads S3 itself writes the same manifests too.
    assert alone(there, folder="alone_there") == made


def test_shards_come_back_from_a_store_on_s3_as_they_were(place, both, bucket, many, tmp_path):
    from regmix_pipeline.proxies.spec import TokenFile
    from regmix_pipeline.proxies.workers.store import Store
    from regmix_pipeline.tokens.shards import shard_folder

    made = many(both[1], tasks=2, workers=2)
    store = Store(f"{bucket[0]}/store")
    files = [
        TokenFile(
            path=shard_folder(place.base / "many", name, manifest.version) / file.file,
            tokens=file.tokens,
            dtype=manifest.dtype,
            version=manifest.version,
            sha256=file.sha256,
        )
        for name, manifest in made.items()
        for file in manifest.splits.values()
    ]
    store.put_tokens(files)
    fetched = [Store(store.address).cached_tokens(file, tmp_path / "cache") for file in files]
    assert [file.path.read_bytes() for file in fetched] == [file.path.read_bytes() for file in files]


def test_a_bad_line_on_s3_is_named_by_its_address(place, both, bucket, many):
    address, files = bucket
    files.pipe_file(f"{address}/books/2.jsonl", lines(["a", "b"]) + b"no JSON\n")
    with pytest.raises(DocumentError, match="malformed JSON") as caught:
        many(both[1], tasks=2, workers=2)
    assert caught.value.where == f"{address}/books/2.jsonl:3"
    assert {path.relative_to(place.base / "many").parts[0] for path in (place.base / "many").rglob("*.ds")} == {"web"}


@pytest.mark.parametrize("change", ["another text", "another file"])
def test_documents_on_s3_that_change_meanwhile_make_no_shard(place, both, bucket, many, monkeypatch, change):
    address, files = bucket
    original = executors.subprocess.Popen

    def changing(command, **given):
        name = "2.jsonl" if change == "another text" else "9.jsonl"
        # By another machine: its client does not know of ours, so no listing here is dropped.
        type(files)(skip_instance_cache=True).pipe_file(f"{address}/books/{name}", lines(["a", "b"]))
        return original(command, **given)

    monkeypatch.setattr(executors.subprocess, "Popen", changing)
    with pytest.raises(DocumentError, match="changed since"):
        many({"books": both[1]["books"]}, tasks=2)
    assert not [*(place.base / "many").rglob("*")]
