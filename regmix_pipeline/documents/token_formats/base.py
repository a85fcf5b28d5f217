"""What the formats of token files share: where the tokens lie in a file, and where each document ends."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import DocumentError

Tokens = NDArray[np.unsignedinteger]
Numbers = NDArray[np.int64]
WIDTHS = {"uint16": 2, "uint32": 4}
READ_AS = {"uint16": "uint16", "int16": "uint16", "uint32": "uint32", "int32": "uint32"}
"""Types of token ids in files -> how they are read: no id is negative; one that is would be beyond any vocabulary."""
BLOCK = 1 << 22
"""Tokens looked at together."""


@dataclass(frozen=True)
class TokenPart:
    """Tokens that lie together in one file.

    Attributes:
        path: the file.
        offset: bytes before the first token.
        dtype: type of a token, little-endian: uint16 or uint32.
        ends: position after each document's last token, in tokens, increasing; the last is the number of tokens.
    """

    path: str
    offset: int
    dtype: str
    ends: Numbers

    @property
    def tokens(self) -> Tokens:
        """All of them, mapped and not read."""
        return mapped(self.path, self.dtype, self.offset, int(self.ends[-1]) if len(self.ends) else 0)


class TokenFormat(ABC):
    """A way to store tokens. A data set is named by one path, from which its files follow."""

    name: str
    """As the study file calls it."""
    endings: str
    """Of its files, for messages."""
    any_name = False
    """Whether a file of any name may be of this format, where the study says so."""

    @abstractmethod
    def main(self, path: str) -> str | None:
        """The path that names the data set that this file or folder belongs to; None where it is not of this format."""

    @abstractmethod
    def parts(self, main: str, dtype: str, eos_id: int) -> Iterator[TokenPart]:
        """The tokens of a data set in reading order.

        Args:
            main: the path that names it.
            dtype: type of a token.
            eos_id: the token that ends a document.

        Raises:
            DocumentError: a file is missing, cut, or not what the others say of it.
        """

    def dtype(self, main: str) -> str | None:
        """The type of a token as the files say it, such as int64; None where they do not."""
        return None

    def data(self, main: str) -> list[str]:
        """The files that hold tokens."""
        return [main]

    def beside(self, main: str) -> list[str]:
        """Files that say more about those."""
        return []

    def tokenizer(self, main: str) -> str | None:
        """The name of the tokenizer as the files say it; None where they do not."""
        return None


def mapped(path: str, dtype: str, offset: int, tokens: int) -> Tokens:
    """Tokens of a file, mapped and not read; an empty array where there are none, which cannot be mapped."""
    if not tokens:
        return np.empty(0, np.dtype(dtype))
    return np.memmap(path, np.dtype(dtype).newbyteorder("<"), "r", offset, (tokens,))


def size_of(path: str) -> int:
    """Bytes of a file. Raises DocumentError where it is missing."""
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise DocumentError(
            f"cannot be read: {error.strerror}", where=path, remedy="put it back beside the others"
        ) from error


def whole_tokens(path: str, dtype: str, offset: int = 0) -> int:
    """Number of tokens from ``offset`` to the end of a file. Raises DocumentError where a part of a token is left."""
    size = size_of(path) - offset
    if size < 0 or size % WIDTHS[dtype]:
        raise DocumentError(
            f"{max(size, 0):,} bytes are not a whole number of {dtype} tokens",
            where=path,
            remedy="the file is cut, or of another dtype: state tokens.dtype, or make it again",
        )
    return size // WIDTHS[dtype]


def ends_by_token(tokens: Tokens, eos_id: int) -> Numbers:
    """Where documents end that the end-of-text token delimits; what follows the last one is a document as well."""
    found = [
        start + 1 + np.flatnonzero(tokens[start : start + BLOCK] == eos_id) for start in range(0, len(tokens), BLOCK)
    ]
    ends = np.concatenate([np.empty(0, np.int64), *found]).astype(np.int64)
    if len(tokens) and (not len(ends) or ends[-1] != len(tokens)):
        ends = np.append(ends, len(tokens))
    return ends


def check_stated_ends(path: str, tokens: Tokens, ends: Numbers, eos_id: int, remedy: str) -> None:
    """Raise DocumentError unless documents whose ends a file states end with the end-of-text token."""
    if len(ends) and bool(np.any(np.diff(ends, prepend=0) <= 0)):
        number = int(np.flatnonzero(np.diff(ends, prepend=0) <= 0)[0]) + 1
        raise DocumentError(f"document {number:,} holds no token", where=path, remedy="make the files again")
    last = np.asarray(tokens[ends - 1]) if len(ends) else np.empty(0)
    wrong = np.flatnonzero(last != eos_id)
    if len(wrong):
        number = int(wrong[0])
        raise DocumentError(
            f"document {number + 1:,} ends with the token {int(last[number])}, not with the study's end-of-text token "
            f"{eos_id} ({len(wrong):,} of {len(ends):,} documents do)",
            where=path,
            remedy=remedy,
        )
