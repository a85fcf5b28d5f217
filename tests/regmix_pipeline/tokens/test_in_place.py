"""Tokens that exist become the very shards that their text would: without a copy, and checked."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.errors import DocumentError, RegmixError, TokenError
from regmix_pipeline.proxies.spec import TokenFile
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.study.settings.watch import WatchSettings
from regmix_pipeline.tokens.extents import ExtentTokens, TokensIn, opened_tokens, sha256_of_tokens, write_extents
from regmix_pipeline.tokens.manifest import verify_shard
from regmix_pipeline.tokens.shards import make_shard, shard_folder
from regmix_pipeline.tokens.text_of_tokens import decoder_of
from regmix_pipeline.tokens.tokenizer import load_for_text

KINDS = ("olmo", "numpy", "datatrove", "megatron", "litdata")
SETTINGS = ShardSettings(validation_fraction=0.3, seed=3, min_tokens=1)


def tokens_of(path, **more):
    return Source.model_validate({"tokens": {"path": path, "tokenizer": "ours", **more}})


def windows_of(folder, split):
    file = TokenFile(path=folder / split.file, dtype="uint16", tokens=split.tokens, version="v", sha256=split.sha256)
    return Windows(file, 7)


@pytest.fixture
def shard(place, tokenizer):
    """Make a shard: ``shard(source, role="domain")``; its manifest and folder."""

    def made(source, role="domain", name="web"):
        manifest = make_shard(
            name, source, place.base, place.base / "data", tokenizer, place.base / "shards", SETTINGS, role,
            say=lambda line: None,
        )  # fmt: skip
        return manifest, shard_folder(place.base / "shards", name, manifest.version)

    return made


@pytest.fixture
def texts(place):
    """Some of them twice, and one that is white space."""
    return [
        *place.sentences(40),
        *place.sentences(5),
        " \n ",
        "\u00fcber die D\u00e4cher \u2014 \u4f60\u597d",
        "the last one",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_become_the_shard_of_their_text(kind, place, texts, token_writer, shard):
    as_text, text_folder = shard(place.write("text", texts), name="text")
    path = token_writer.write(kind, token_writer.tokens(texts), place.base / kind)
    found, folder = shard(tokens_of(path))
    assert (found.duplicates, found.without_text, found.dtype) == (as_text.duplicates, 1, "uint16")
    assert found.eos_id == as_text.eos_id
    assert verify_shard(folder) == found
    # Nothing was copied: the shard's own files hold places and no tokens.
    assert {path.suffix for path in folder.iterdir()} == {".extents", ".index", ".json"}
    # Files are read one after the other, so documents may come in another order: of one file they do not.
    for split, held in found.splits.items():
        other = as_text.splits[split]
        assert (held.tokens, held.documents, held.bytes) == (other.tokens, other.documents, other.bytes)
        if kind != "olmo":
            assert held.sha256 == other.sha256
            ours, theirs = windows_of(folder, held), windows_of(text_folder, other)
            every = np.arange(ours.count)
            np.testing.assert_array_equal(ours.read(every), theirs.read(every))


@pytest.mark.parametrize("kind", ["megatron", "litdata"])
def test_signed_tokens_of_four_bytes_are_read_in_place(kind, place, token_writer, shard):
    documents = token_writer.tokens(place.sentences(30))
    found, folder = shard(tokens_of(token_writer.write(kind, documents, place.base / kind, "int32")))
    assert found.dtype == "uint32"
    split = found.splits["train"]
    tokens = opened_tokens(folder / split.file, "uint32")[0 : split.tokens]
    assert tokens.dtype == np.uint32
    assert int(tokens.max()) < 400


def test_a_target_is_not_divided_and_limits_count_in_reading_order(place, token_writer, shard):
    documents = token_writer.tokens(place.sentences(30))
    path = token_writer.write("datatrove", documents, place.base / "t")
    found, _ = shard(tokens_of(path), role="target")
    assert {name: split.documents for name, split in found.splits.items()} == {"validation": 30}
    limited, _ = shard(tokens_of(path).model_copy(update={"max_documents": 10}), role="target")
    assert limited.splits["validation"].documents == 10
    assert limited.splits["validation"].tokens == sum(map(len, documents[:10]))


def wrong(place, writer, documents):
    """Name -> (source, what the error says)."""
    base = place.base

    def olmo(name, array, **more):
        (base / name).mkdir()
        array.tofile(base / name / "a.npy")
        return tokens_of(f"{base}/{name}/a.npy", **more)

    flat = np.concatenate([np.array(each, np.uint16) for each in documents])
    cases = {
        "beyond": (
            olmo("beyond", np.append(flat, [900, 0]).astype(np.uint16)),
            r"token 900 at place .* whose vocabulary",
        ),
        "wide": (olmo("wide", flat.astype(np.uint32)), "set tokens.dtype: uint32"),
        "narrow": (olmo("narrow", flat[: len(flat) // 2 * 2], dtype="uint32"), "is not one of|none of its"),
        "odd": (olmo("odd", flat.view(np.uint8)[:-1]), "not a whole number of uint16"),
        "endless": (olmo("endless", flat[flat != 0]), "is the end-of-text token 0, so no document ends"),
        "stated": (olmo("stated", flat, vocabulary=50257), "vocabulary is 50,257, and the study's tokenizer has 400"),
        "eos": (olmo("eos", flat, eos_id=7), "eos_id is 7"),
        "none": (tokens_of("nothing/*.npy"), "no file matches"),
        "kind": (tokens_of(place.write("x", ["a text"]).jsonl), "of no format that is read"),
        "other": (tokens_of(f"{base}/eos/a.npy", format="megatron"), "is not one of megatron's files"),
    }
    np.save(base / "long.npy", flat.astype(np.int64))
    cases["long"] = (tokens_of("long.npy"), "tokens are int64, which is not read where it lies")
    np.save(base / "typed.npy", flat)
    cases["typed"] = (tokens_of("typed.npy", dtype="uint32"), "its tokens are uint16, and tokens.dtype says uint32")
    np.save(base / "square.npy", flat[: len(flat) // 2 * 2].reshape(-1, 2))
    cases["square"] = (tokens_of("square.npy"), "array of 2 dimensions")
    bare = [each[:-1] for each in documents]
    for kind in ("datatrove", "megatron"):
        path = writer.write(kind, bare, base / f"bare_{kind}")
        cases[f"bare_{kind}"] = (
            tokens_of(path),
            "document 1 ends with the token .* not with the study's end-of-text token",
        )
    for kind, ending in (("datatrove", "00000.ds"), ("megatron", "text_document.bin"), ("litdata", "chunk-0-1.bin")):
        path = writer.write(kind, documents, base / f"cut_{kind}")
        os.truncate(base / f"cut_{kind}" / ending, (base / f"cut_{kind}" / ending).stat().st_size - 2)
        cases[f"cut_{kind}"] = (tokens_of(path), f"{ending}: holds .* its index states")
    for kind, gone in (("datatrove", "00000.ds.index"), ("litdata", "chunk-0-0.bin")):
        path = writer.write(kind, documents, base / f"gone_{kind}")
        (base / f"gone_{kind}" / gone).unlink()
        cases[f"gone_{kind}"] = (tokens_of(path), f"{gone}: cannot be read")
    path = writer.write("datatrove", documents, base / "named")
    cases["named"] = (
        tokens_of(path, tokenizer="theirs"),
        "made by the tokenizer ours, and tokens.tokenizer says theirs",
    )
    return cases


NAMES = (
    *(
        "beyond",
        "wide",
        "narrow",
        "odd",
        "endless",
        "stated",
        "eos",
        "none",
        "kind",
        "other",
        "long",
        "typed",
        "square",
    ),
    *("bare_datatrove", "bare_megatron", "cut_datatrove", "cut_megatron", "cut_litdata"),
    *("gone_datatrove", "gone_litdata", "named"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_is_named_with_file_and_remedy(name, place, token_writer, shard):
    documents = token_writer.tokens(place.sentences(60))
    cases = wrong(place, token_writer, documents)
    assert set(cases) == set(NAMES)
    source, message = cases[name]
    with pytest.raises(RegmixError, match=message) as caught:
        shard(source)
    assert isinstance(caught.value, DocumentError | TokenError)
    assert caught.value.where
    assert caught.value.remedy
    assert not (place.base / "shards").exists() or not any((place.base / "shards").iterdir())


def test_versions_follow_the_content_and_not_the_place(place, token_writer, shard):
    path = token_writer.write("datatrove", token_writer.tokens(place.sentences(30)), place.base / "one")
    source = tokens_of(path)
    before, folder = shard(source)
    shutil.move(place.base / "one", place.base / "two")
    moved = tokens_of(path.replace("/one/", "/two/"))
    after, _ = shard(moved)
    assert after.version == before.version
    assert {str(each) for each in ExtentTokens(folder / "train.extents").paths} == {f"{place.base}/two/00000.ds"}
    assert verify_shard(folder) == after == before
    version = observe(moved, place.base, place.base / "data").version
    # Where a document ends is part of the content.
    ends = np.fromfile(place.base / "two" / "00000.ds.index", "<u8")
    np.delete(ends, 3).tofile(place.base / "two" / "00000.ds.index")
    assert observe(moved, place.base, place.base / "data").version != version


def test_a_changed_file_is_noticed_before_anything_is_trained_on_it(place, token_writer, shard):
    found, folder = shard(
        tokens_of(token_writer.write("olmo", token_writer.tokens(place.sentences(30)), place.base / "o"))
    )
    split = found.splits["train"]
    windows_of(folder, split)
    changed = place.base / "o" / "part-1.npy"
    tokens = np.fromfile(changed, np.uint16)
    tokens[tokens > 0] = 1
    tokens.tofile(changed)
    os.utime(changed, ns=(1, 1))
    with pytest.raises(TokenError, match=r"part-1\.npy: the token file was altered"):
        windows_of(folder, split)
    with pytest.raises(TokenError, match=r"part-1\.npy: was altered"):
        verify_shard(folder)
    changed.unlink()
    with pytest.raises(TokenError, match=r"part-1\.npy: the token file is missing"):
        windows_of(folder, split)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 19), st.integers(1, 20)), min_size=1, max_size=8), st.data()
)
def test_extents_read_as_one_row(tmp_path_factory, pieces, data):
    folder = tmp_path_factory.mktemp("extents")
    held = [np.arange(number * 100, number * 100 + 40, dtype="<u2") for number in (0, 1)]
    files = []
    for number, tokens in enumerate(held):
        path = folder / f"{number}.bin"
        path.write_bytes(bytes(3 * number) + tokens.tobytes())
        files.append(TokensIn(path, 3 * number, len(tokens), path.stat().st_size, ""))
    write_extents(folder / "all.extents", "uint16", files, pieces)
    row = np.concatenate([held[file][start : start + length] for file, start, length in pieces])
    row.tofile(folder / "all.ds")
    tokens = ExtentTokens(folder / "all.extents")
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(row) + 2)] * 2)))
    assert len(tokens) == len(row)
    np.testing.assert_array_equal(tokens[start:stop], row[start:stop])
    assert sha256_of_tokens(folder / "all.extents", "uint16") == sha256_of_tokens(folder / "all.ds", "uint16")


def test_a_header_is_known_by_its_first_bytes_and_not_by_the_name(place, token_writer, shard):
    flat = np.concatenate([np.array(each, np.uint16) for each in token_writer.tokens(place.sentences(30))])
    found = {}
    for name in ("raw", "saved"):
        (place.base / name).mkdir()
        flat.tofile(place.base / name / "a.npy") if name == "raw" else np.save(place.base / name / "a.npy", flat)
        manifest, folder = shard(tokens_of(f"{name}/a.npy"), name=name)
        file = json.loads((folder / "train.extents").read_text())["files"][0]
        found[name] = (file["offset"], {split: held.sha256 for split, held in manifest.splits.items()})
    assert found["raw"][0] == 0 < found["saved"][0]
    assert found["raw"][1] == found["saved"][1]


@pytest.mark.parametrize("kind", ["byte-level", "word pieces", "sentence pieces"])
def test_tokens_become_their_text_again(kind, tmp_path, place, tokenizer):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    text = "The d\u00e9cor of a small caf\u00e9, \u4f60\u597d \U0001f600, and <|endoftext|> as text."
    path = tokenizer.path
    if kind != "byte-level":
        pieces = kind == "sentence pieces"
        made = Tokenizer(models.Unigram() if pieces else models.WordPiece(unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Metaspace() if pieces else pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.Metaspace() if pieces else decoders.WordPiece()
        made.normalizer = normalizers.Lowercase()
        special = ["<|endoftext|>", "[UNK]"]
        trainer = (
            trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="[UNK]", show_progress=False)
            if pieces
            else trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
        )
        made.train_from_iterator([*place.sentences(200), text], trainer)
        path = tmp_path / "tokenizer.json"
        made.save(str(path))
    loaded = load_for_text(path, "<|endoftext|>")
    ids = loaded.encode(text).ids
    decoded = decoder_of(path)(ids).decode()
    if kind == "byte-level":
        assert decoded == text
        # A document may end inside a character: its bytes are those of its tokens.
        smile = loaded.encode("\U0001f600").ids[:-1]
        assert b"".join(decoder_of(path)([each]) for each in smile) == "\U0001f600".encode()
    else:
        assert decoded == loaded.decode(ids)


def test_watched_folders_may_hold_tokens():
    watch = WatchSettings.model_validate(
        {"address": "in", "source": {"tokens": {"path": "*.npy", "tokenizer": "ours"}}}
    )
    assert watch.source_of("web").address == "in/web/*.npy"
    with pytest.raises(ValueError, match="is not on a disk"):
        WatchSettings.model_validate(
            {"address": "s3://in", "source": {"tokens": {"path": "*.npy", "tokenizer": "ours"}}}
        )
