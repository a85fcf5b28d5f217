"""OLMo's .npy files: headless tokens, although real .npy files have a header; the end-of-text token ends a document.

Dolma's tokenizer and OLMo-core's data sets write and read them so, as numpy's memmap does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from regmix_pipeline.documents.token_formats.base import TokenFormat, TokenPart, ends_by_token, mapped, whole_tokens
from regmix_pipeline.errors import DocumentError

MAGIC = b"\x93NUMPY"
"""The first bytes of a file that numpy.save wrote."""


class Olmo(TokenFormat):
    """Headless tokens, or a one-dimensional array as numpy.save writes it: the first bytes tell."""

    name = "olmo"
    endings = ".npy"
    any_name = True

    def main(self, path: str) -> str | None:
        """The file itself."""
        return path if path.lower().endswith(".npy") or _has_header(path) else None

    def dtype(self, main: str) -> str | None:
        """As the header says, where there is one."""
        return _header(main)[0] if _has_header(main) else None

    def parts(self, main: str, dtype: str, eos_id: int) -> Iterator[TokenPart]:
        """One part: the file."""
        offset, count = 0, None
        if _has_header(main):
            _, offset, count = _header(main)
        found = whole_tokens(main, dtype, offset)
        if count is not None and count != found:
            raise DocumentError(
                f"holds {found:,} tokens where its header states {count:,}", where=main, remedy="make the file again"
            )
        tokens = mapped(main, dtype, offset, found)
        if count is None and dtype == "uint16" and _looks_wider(tokens):
            raise DocumentError(
                "every other token is 0, as where tokens of four bytes are read as two",
                where=main,
                remedy="set tokens.dtype: uint32",
            )
        ends = ends_by_token(tokens, eos_id)
        if len(tokens) and eos_id not in np.asarray(tokens[ends - 1]):
            raise DocumentError(
                f"none of its {len(tokens):,} tokens is the end-of-text token {eos_id}, so no document ends",
                where=main,
                remedy="check tokens.dtype and that the study's tokenizer and eos_token are those of the file",
            )
        yield TokenPart(main, offset, dtype, ends)


def _looks_wider(tokens: np.ndarray) -> bool:
    first = np.asarray(tokens[: 1 << 16])
    return len(first) >= 64 and not first[1::2].any() and bool(first[::2].any())


def _has_header(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _header(path: str) -> tuple[str, int, int]:
    """Type of a token, bytes before the first, and how many there are."""
    with open(path, "rb") as file:
        try:
            shape, _, dtype = _read_header(file)
        except (ValueError, EOFError) as error:
            raise DocumentError(f"damaged: {error}", where=path, remedy="make the file again") from error
        if len(shape) != 1:
            raise DocumentError(
                f"is an array of {len(shape)} dimensions, not a list of tokens",
                where=path,
                remedy="write the documents' tokens one after the other, each ended by the end-of-text token",
            )
        if dtype.byteorder == ">":
            raise DocumentError("its tokens are big-endian", where=path, remedy="write it as little-endian")
        return dtype.name, file.tell(), int(shape[0])


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


OLMO = Olmo()
