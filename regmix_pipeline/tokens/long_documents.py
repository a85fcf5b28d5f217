"""Long documents as tokens, in pieces: the tokenizers library takes some 150 bytes of memory a character at once.

Pieces overlap. Where a piece ends and the next begins is decided inside the overlap, at a character where both start a
token and go on alike, so the tokens are those of the document encoded at once. A document whose overlap has no such
place, such as a megabyte without a space, is cut at a fixed character.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

PIECE = 250_000
"""Characters encoded at once."""
OVERLAP = 8_192
"""Characters that two pieces share."""
ALIKE = 32
"""Tokens that must follow alike in both pieces: more than a tokenizer's rules look ahead or back."""


def token_pieces(tokenizer: Tokenizer, text: str, piece: int = PIECE, overlap: int = OVERLAP) -> Iterator[list[int]]:
    """Token ids of a document, piece by piece, with what the tokenizer's post-processor puts around it.

    Args:
        tokenizer: of the tokenizers library.
        text: of any length.
        piece: characters encoded at once; more than twice ``overlap``.
        overlap: characters that two pieces share.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        >>> text = "a b " * 500
        >>> sum(token_pieces(tokenizer, text, 700, 300), []) == tokenizer.encode(text).ids
        True
    """
    before, after = _around(tokenizer)
    start, encoding = 0, tokenizer.encode(text[:piece], add_special_tokens=False)
    first = 0
    yield before
    while start + piece < len(text):
        next_start = start + piece - overlap
        following = tokenizer.encode(text[next_start : next_start + piece], add_special_tokens=False)
        last, next_first = _join(encoding, following, piece - overlap, overlap)
        yield encoding.ids[first:last]
        start, encoding, first = next_start, following, next_first
    yield encoding.ids[first:] + after


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that the post-processor puts before and after a document, such as an end-of-text token."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    for place in range(len(whole) - len(plain) + 1):
        if whole[place : place + len(plain)] == plain:
            return whole[:place], whole[place + len(plain) :]
    return [], []


def _join(one: Encoding, other: Encoding, shift: int, overlap: int) -> tuple[int, int]:
    """Index of the first token that ``one`` leaves to ``other``, and of that token in ``other``.

    ``other`` begins ``shift`` characters after ``one``. Its first quarter of the overlap is not looked at, nor the last
    of ``one``'s: there a cut word may be encoded in another way.
    """
    mine, theirs = one.ids, other.ids
    both_begin: tuple[int, int] | None = None
    for place in range(overlap // 4, overlap * 3 // 4):
        at, index = _token_at(one, place + shift), _token_at(other, place)
        if at is None or index is None:
            continue
        both_begin = both_begin or (at, index)
        if at + ALIKE <= len(mine) and mine[at : at + ALIKE] == theirs[index : index + ALIKE]:
            return at, index
    # Without any such character, one unknown token covers the overlap in both: it stays in the first.
    return both_begin or (_token_from(one, shift + overlap // 2), _token_from(other, overlap // 2))


def _token_at(encoding: Encoding, place: int) -> int | None:
    """Index of the first token that begins at a character, or None where none does."""
    index = encoding.char_to_token(place)
    span = None if index is None else encoding.token_to_chars(index)
    return index if span is not None and span[0] == place else None


def _token_from(encoding: Encoding, place: int) -> int:
    """Index of the first token that begins at a character or after it."""
    return next((index for index, (start, _) in enumerate(encoding.offsets) if start >= place), len(encoding.ids))
