"""What a tokenizer loses of a source's text: tokens for the unknown, and characters that do not come back."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from regmix_pipeline.tokens.extents import Tokens
from regmix_pipeline.tokens.tokenizer import load_for_text

SAMPLE_CHARACTERS = 400_000
"""Characters of a source's first documents that are tokenised and read back."""
LONGEST = 20_000
"""Characters of one document in the sample, so that a book is not all of it."""


@dataclass(frozen=True)
class Coverage:
    """How well a tokenizer covers a sample of text.

    Attributes:
        characters: characters of the sample that are not white space; None where tokens exist and no text.
        lost: share of them that do not come back from the tokens. Case and compatible forms do not count. None where
            there is no text to compare with.
        unknown: share of the tokens that stand for the unknown.
        bytes_per_token: UTF-8 bytes that a token stands for.
    """

    characters: int | None
    lost: float | None
    unknown: float
    bytes_per_token: float


def coverage_of(texts: Iterable[str], tokenizer: Path) -> Coverage:
    """Tokenise the first texts and read them back.

    Args:
        texts: documents; as many are taken as the sample needs.
        tokenizer: a ``tokenizer.json``.
    """
    loaded = load_for_text(tokenizer)
    unknown_token = getattr(loaded.model, "unk_token", None)
    unknown = None if unknown_token is None else loaded.token_to_id(unknown_token)
    taken = characters = tokens = unknowns = lost = size = 0
    for text in texts:
        part = text[:LONGEST]
        ids = loaded.encode(part, add_special_tokens=False).ids
        known = [token for token in ids if token != unknown]
        before = _characters(part)
        characters += before.total()
        lost += (before - _characters(loaded.decode(known, skip_special_tokens=False))).total()
        tokens += len(ids)
        unknowns += len(ids) - len(known)
        size += len(part.encode())
        taken += len(part)
        if taken >= SAMPLE_CHARACTERS:
            break
    return Coverage(characters, lost / max(characters, 1), unknowns / max(tokens, 1), size / max(tokens, 1))


def coverage_of_tokens(tokens: Tokens, size: int, tokenizer: Path) -> Coverage:
    """The same of a source of tokens, where what the tokenizer lost of the text is not known any more.

    Args:
        tokens: of the source.
        size: UTF-8 bytes that all of them stand for.
        tokenizer: a ``tokenizer.json``.
    """
    loaded = load_for_text(tokenizer)
    unknown_token = getattr(loaded.model, "unk_token", None)
    unknown = None if unknown_token is None else loaded.token_to_id(unknown_token)
    sample = tokens[:SAMPLE_CHARACTERS]
    unknowns = 0 if unknown is None else int((sample == unknown).sum())
    return Coverage(None, None, unknowns / max(len(sample), 1), size / max(len(tokens), 1))


def _characters(text: str) -> Counter[str]:
    found = Counter(unicodedata.normalize("NFKD", text).casefold())
    # A text has far fewer characters than places.
    for each in [each for each in found if each.isspace() or unicodedata.combining(each)]:
        del found[each]
    return found
