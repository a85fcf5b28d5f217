"""A long document's tokens, made in pieces, are those of the document at once."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from regmix_pipeline.tokens import long_documents, steps
from regmix_pipeline.tokens.long_documents import token_pieces

TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(json.__file__).parent.glob("*.py")))
SPECIAL = ["<end>", "<unk>"]


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return made, trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )


def sentence_piece():
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return made, trainers.UnigramTrainer(vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)


def word_piece():
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made, trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)


@pytest.fixture(scope="module", params=[byte_level, sentence_piece, word_piece], ids=lambda made: made.__name__)
def trained(request):
    made, trainer = request.param()
    made.train_from_iterator([TEXT], trainer)
    return made


@pytest.fixture(scope="module")
def byte_level_made():
    made, trainer = byte_level()
    made.train_from_iterator([TEXT[:20_000]], trainer)
    return made


def joined(tokenizer, text, piece, overlap):
    return list(chain.from_iterable(token_pieces(tokenizer, text, piece, overlap)))


@pytest.mark.parametrize(("piece", "overlap"), [(1_500, 700), (5_000, 1_000), (10_000_000, 1_000)])
def test_pieces_of_real_text_join_without_a_seam(trained, piece, overlap):
    assert joined(trained, TEXT, piece, overlap) == trained.encode(TEXT).ids


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["word ", "Ünïcode ", "漢字 ", "🧪🧪 ", "    ", "\n\n", "a_b.c(d) ", "12345 "]), min_size=300
    )
)
def test_pieces_of_any_words_join_without_a_seam(words):
    made, trainer = byte_level()
    made.train_from_iterator([TEXT[:20_000]], trainer)
    text = "".join(words)
    assert joined(made, text, 1_000, 450) == made.encode(text).ids


def test_what_the_post_processor_adds_stands_once(trained):
    from tokenizers.processors import TemplateProcessing

    trained = Tokenizer.from_str(trained.to_str())
    trained.post_processor = TemplateProcessing(single="<unk> $A <end>", special_tokens=[("<end>", 0), ("<unk>", 1)])
    assert joined(trained, TEXT, 3_000, 700) == trained.encode(TEXT).ids


@pytest.mark.parametrize("text", ["x" * 10_000 + "é" * 10_000, "xy" * 9_000, "漢" * 7_001, "json" * 5_000])
def test_a_document_without_a_place_to_cut_keeps_all_its_text(byte_level_made, text):
    assert byte_level_made.decode(joined(byte_level_made, text, 1_500, 700)) == text


def test_a_shard_does_not_depend_on_the_length_of_pieces(place, tokenizer, tmp_path, monkeypatch):
    source = place.write("books", [*place.sentences(50), TEXT, *place.sentences(80)])
    from regmix_pipeline.documents.readers import reader

    def tokens(folder):
        write = steps.SplitTokenizer(tmp_path / folder, tokenizer, ("train",), 0, 0.0)
        write.run(steps.DropDuplicates().run(reader(source, place.base, place.base)()))
        return (
            np.fromfile(tmp_path / folder / "train.ds", np.uint16).tolist(),
            np.fromfile(tmp_path / folder / "train.ds.index", np.uint64).tolist(),
        )

    at_once = tokens("at_once")
    monkeypatch.setattr(steps, "PIECE", 20_000)
    monkeypatch.setattr(long_documents.token_pieces, "__defaults__", (20_000, 4_000))
    assert tokens("in_pieces") == at_once
