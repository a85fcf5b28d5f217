from __future__ import annotations

import os
import time

import numpy as np
import pytest

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens import shards
from regmix_pipeline.tokens import tokenizer as tokenizer_file
from regmix_pipeline.tokens.shards import expected_shard_version, make_shard, shard_folder, verify_shard
from regmix_pipeline.tokens.split import split_of, text_digest
from regmix_pipeline.tokens.tokenizer import load, load_for_text

HALF = ShardSettings(validation_fraction=0.5, seed=3)


def make(place, tokenizer, source, name="books", settings=HALF, **given):
    base = place.base
    return make_shard(
        name, source, base, base / "data", tokenizer, base / "shards", settings, say=lambda _: None, **given
    )


def folder_of(place, manifest):
    return shard_folder(place.base / "shards", manifest.source, manifest.version)


def documents_in(folder, manifest, split, tokenizer):
    """The texts in a split, each checked to end with the eos token and to hold no other."""
    tokens = np.fromfile(folder / f"{split}.ds", dtype=f"<{np.dtype(manifest.dtype).str[1:]}")
    ends = np.fromfile(folder / f"{split}.ds.index", dtype="<u8")
    assert len(tokens) == manifest.splits[split].tokens == ends[-1]
    assert len(ends) == manifest.splits[split].documents
    assert list(np.flatnonzero(tokens == tokenizer.eos_id) + 1) == list(ends)
    decoder = load(tokenizer.path)
    parts = np.split(tokens, ends[:-1].astype(int))
    return [decoder.decode(part[:-1].tolist(), skip_special_tokens=False) for part in parts]


def files_under(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_documents_come_back_in_order_once_and_in_their_split(place, tokenizer):
    texts = place.sentences(40)
    manifest = make(place, tokenizer, place.write("books", texts + texts[:5]))
    folder = folder_of(place, manifest)
    assert verify_shard(folder) == manifest
    assert manifest.duplicates == 5
    for split in ("train", "validation"):
        expected = [text for text in texts if split_of(text_digest(text), 3, 0.5) == split]
        assert documents_in(folder, manifest, split, tokenizer) == expected
        assert manifest.splits[split].bytes == sum(len(text.encode()) for text in expected)
    assert files_under(folder) == [
        "manifest.json",
        *("train.ds", "train.ds.index"),
        *("validation.ds", "validation.ds.index"),
    ]


def test_the_same_bytes_elsewhere(place, tokenizer, tmp_path_factory):
    texts = place.sentences(40)
    one = make(place, tokenizer, place.write("books", texts))
    there = type(place)(tmp_path_factory.mktemp("elsewhere"))
    assert make(there, tokenizer, there.write("renamed", texts)) == one


def test_batches_do_not_show(place, tokenizer, monkeypatch):
    from regmix_pipeline.tokens import steps

    source = place.write("books", place.sentences(40))
    one = make(place, tokenizer, source)
    monkeypatch.setattr(steps, "BATCH_CHARACTERS", 100)
    other = make(place, tokenizer, source, name="again")
    assert other.splits == one.splits


def test_a_tokenizer_is_loaded_once_for_all_sources(place, tokenizer, monkeypatch):
    """The library keeps what each of its objects has encoded, also when the object is gone."""
    from regmix_pipeline.tokens.coverage import coverage_of

    loaded = []
    monkeypatch.setattr(tokenizer_file, "load", lambda path: loaded.append(path) or load(path))
    tokenizer_file._for_text.cache_clear()
    for name in ("one", "two", "three"):
        make(place, tokenizer, place.write(name, place.sentences(40)), name=name)
        coverage_of(place.sentences(10), tokenizer.path)
    assert len(loaded) == 2  # with the end of a document, and without


def test_another_tokenizer_under_the_same_path_is_loaded(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(tokenizer.path.read_bytes())
    first = load_for_text(path)
    assert load_for_text(path) is first
    path.write_bytes(tokenizer.path.read_bytes() + b"\n")
    assert load_for_text(path) is not first


def test_text_that_spells_the_eos_token_is_text(place, tokenizer):
    texts = [f"before {tokenizer.eos_token} after {n}" for n in range(20)]
    manifest = make(place, tokenizer, place.write("books", texts), role="target")
    assert documents_in(folder_of(place, manifest), manifest, "validation", tokenizer) == texts


def test_a_target_is_validation_only(place, tokenizer):
    texts = place.sentences(10)
    manifest = make(place, tokenizer, place.write("wiki", texts), name="wiki", role="target")
    assert list(manifest.splits) == ["validation"]
    assert documents_in(folder_of(place, manifest), manifest, "validation", tokenizer) == texts


def test_a_finished_shard_is_not_made_again(place, tokenizer, monkeypatch):
    source = place.write("books", place.sentences(40))
    manifest = make(place, tokenizer, source)
    monkeypatch.setattr(shards, "_tokenized", None)
    assert make(place, tokenizer, source) == manifest


def test_versions(place, tokenizer):
    source = place.write("books", place.sentences(40))
    seen = observe(source, place.base, place.base / "data").version
    manifest = make(place, tokenizer, source, documents_version=seen)
    assert manifest.version == expected_shard_version(seen, tokenizer, HALF)
    assert (manifest.documents_version, manifest.tokenizer) == (seen, tokenizer.version)

    others = [
        expected_shard_version("other", tokenizer, HALF),
        expected_shard_version(seen, tokenizer, HALF.model_copy(update={"seed": 4})),
        expected_shard_version(seen, tokenizer, HALF.model_copy(update={"validation_fraction": 0.4})),
        expected_shard_version(seen, tokenizer, HALF, "target"),
    ]
    assert len({manifest.version, *others}) == 5
    longer = HALF.model_copy(update={"min_tokens": 99})
    assert expected_shard_version(seen, tokenizer, longer) == manifest.version
    reseeded = HALF.model_copy(update={"seed": 9})
    assert expected_shard_version(seen, tokenizer, reseeded, "target") == others[3]


def test_a_damaged_shard_is_named_and_made_again(place, tokenizer):
    source = place.write("books", place.sentences(40))
    folder = folder_of(place, make(place, tokenizer, source))
    path = folder / "train.ds"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(TokenError, match="bytes where the manifest states") as caught:
        verify_shard(folder)
    assert caught.value.where == str(path)
    make(place, tokenizer, source)
    assert path.read_bytes() == whole
    path.unlink()
    make(place, tokenizer, source)
    assert path.read_bytes() == whole


def refused(place, tokenizer, source, error, problem, **given):
    """The error, and that nothing was left behind."""
    with pytest.raises(error, match=problem) as caught:
        make(place, tokenizer, source, **given)
    assert files_under(place.base / "shards") == []
    assert caught.value.remedy
    return caught.value


def test_no_documents(place, tokenizer):
    found = refused(place, tokenizer, place.write("books", [" ", ""]), DocumentError, "has no documents with text")
    assert "2 are empty" in found.problem
    assert found.where == "jsonl books.jsonl"


def test_a_target_without_text(place, tokenizer):
    source = place.write("wiki", [""])
    refused(place, tokenizer, source, DocumentError, "target wiki has no documents", name="wiki", role="target")


def test_fewer_train_tokens_than_a_window(place, tokenizer):
    settings = ShardSettings(validation_fraction=0.5, min_tokens=100_000)
    found = refused(
        place,
        tokenizer,
        place.write("books", place.sentences(40)),
        TokenError,
        "fewer than the window",
        settings=settings,
    )
    assert found.where == "books, train split"


def test_a_validation_split_shorter_than_a_window(place, tokenizer):
    source = place.write("books", place.sentences(40))
    settings = ShardSettings(validation_fraction=1e-9)
    found = refused(place, tokenizer, source, TokenError, "0 documents with 0 tokens", settings=settings)
    assert found.where == "books, validation split"
    assert "raise validation_fraction (1e-09)" in found.remedy
    settings = ShardSettings(validation_fraction=1e-9, min_tokens=2)
    target = make(place, tokenizer, source, name="wiki", role="target", settings=settings)
    with pytest.raises(TokenError, match="fewer than the window"):
        make(place, tokenizer, source, name="wiki", role="target", settings=ShardSettings(min_tokens=10**6))
    assert verify_shard(folder_of(place, target)) == target


def test_a_bad_line_leaves_nothing(place, tokenizer):
    source = place.write("books", place.sentences(40))
    with open(place.base / "books.jsonl", "a") as file:
        file.write('{"body": "x"}\n')
    found = refused(place, tokenizer, source, DocumentError, "no text field 'text'")
    assert found.where == f"{place.base}/books.jsonl:41"


def test_documents_that_changed_since_they_were_observed(place, tokenizer):
    source = place.write("books", place.sentences(40))
    seen = observe(source, place.base, place.base / "data").version
    place.write("books", place.sentences(41))
    refused(place, tokenizer, source, DocumentError, "changed since they were observed", documents_version=seen)


def test_unsafe_names(place, tokenizer):
    with pytest.raises(ValueError, match="is not a safe name"):
        make(place, tokenizer, place.write("books", place.sentences(40)), name="../books")
    assert not (place.base / "books").exists()


def test_leftovers_of_a_killed_run_are_swept(place, tokenizer):
    left = place.base / "shards" / "books" / ".0123.dead.tmp"
    left.mkdir(parents=True)
    (left / "train.ds").write_bytes(b"x" * 99)
    for path in (left / "train.ds", left):
        os.utime(path, (time.time() - 7200,) * 2)
    manifest = make(place, tokenizer, place.write("books", place.sentences(40)))
    assert [path.name for path in left.parent.iterdir()] == [manifest.version]


def test_real_text(place, tokenizer, capfd):
    source = Source(corpus="code_python", max_bytes=2_000_000)
    settings = ShardSettings(validation_fraction=0.1, min_tokens=257)
    manifest = make(place, tokenizer, source, name="code_python", settings=settings)
    folder = folder_of(place, manifest)
    assert verify_shard(folder).totals("bytes") >= 2_000_000
    texts = [text for split in manifest.splits for text in documents_in(folder, manifest, split, tokenizer)]
    assert any("import asyncio" in text for text in texts)
    assert capfd.readouterr().err == ""
