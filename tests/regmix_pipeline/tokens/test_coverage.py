"""What a tokenizer loses of text is seen, and what it only writes otherwise is not taken for a loss."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from regmix_pipeline.tokens.coverage import LONGEST, SAMPLE_CHARACTERS, coverage_of

CYRILLIC = "".join(map(chr, range(0x430, 0x440)))


def saved(tokenizer, folder):
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def letters():
    return {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


def test_a_byte_level_tokenizer_loses_nothing(tmp_path):
    tokenizer = Tokenizer(models.BPE({each: n for n, each in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    found = coverage_of(["Any text: " + CYRILLIC, "\U0001f600 <|endoftext|>"], saved(tokenizer, tmp_path))
    assert (found.lost, found.unknown, found.bytes_per_token) == (0.0, 0.0, 1.0)


def test_characters_without_a_token_are_lost(tmp_path, letters):
    tokenizer = Tokenizer(models.BPE(letters, []))
    found = coverage_of([f"abc{CYRILLIC[:9]}"], saved(tokenizer, tmp_path))
    assert found.characters == 12
    assert found.lost == pytest.approx(9 / 12)
    assert found.bytes_per_token == pytest.approx((3 + 18) / 3)


def test_unknown_tokens_are_counted(tmp_path, letters):
    tokenizer = Tokenizer(models.BPE(letters | {"?": 26}, [], unk_token="?"))
    found = coverage_of([f"abc{CYRILLIC[:9]}"], saved(tokenizer, tmp_path))
    assert found.unknown == pytest.approx(9 / 12)
    assert found.lost == pytest.approx(9 / 12)


def test_case_and_compatible_forms_are_no_loss(tmp_path, letters):
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    assert coverage_of(["\u00c9Tudes \ufb01n"], saved(tokenizer, tmp_path)).lost == 0.0


def test_only_a_sample_is_read(tmp_path, letters):
    taken = []

    def texts():
        while True:
            taken.append(1)
            yield "a" * 2 * LONGEST

    coverage_of(texts(), saved(Tokenizer(models.BPE(letters, [])), tmp_path))
    assert len(taken) == SAMPLE_CHARACTERS // LONGEST
