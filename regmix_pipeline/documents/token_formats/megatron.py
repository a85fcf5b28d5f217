"""Megatron's indexed data sets: tokens in PREFIX.bin, sequences and documents in PREFIX.idx.

The layout is that of megatron.core.datasets.indexed_dataset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from regmix_pipeline.documents.token_formats.base import (
    WIDTHS,
    Numbers,
    TokenFormat,
    TokenPart,
    check_stated_ends,
    mapped,
    size_of,
    whole_tokens,
)
from regmix_pipeline.errors import DocumentError

MAGIC = b"MMIDIDX\x00\x00"
TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float64",
    7: "float32",
    8: "uint16",
}
"""Type of a token by its code in an index."""
HEADER = 34
"""Bytes of an index before its lists: magic, version, type, numbers of sequences and of documents."""
REMEDY = "make both files with tools/preprocess_data.py"


class Megatron(TokenFormat):
    """What tools/preprocess_data.py and IndexedDatasetBuilder write."""

    name = "megatron"
    endings = ".bin and .idx"

    def main(self, path: str) -> str | None:
        """The index."""
        for ending in (".bin", ".idx"):
            path = path.removesuffix(ending)
        index = f"{path}.idx"
        try:
            with open(index, "rb") as file:
                return index if file.read(len(MAGIC)) == MAGIC else None
        except OSError:
            return None

    def data(self, main: str) -> list[str]:
        """The .bin."""
        return [_tokens_of(main)]

    def beside(self, main: str) -> list[str]:
        """The index."""
        return [main]

    def dtype(self, main: str) -> str | None:
        """By the code in the index."""
        with open(main, "rb") as file:
            head = file.read(18)
        return TYPES.get(head[17], f"code {head[17]}") if len(head) == 18 else None

    def parts(self, main: str, dtype: str, eos_id: int) -> Iterator[TokenPart]:
        """One part: the .bin."""
        index, path = _read(main), _tokens_of(main)
        tokens = whole_tokens(path, dtype)
        starts = np.cumsum(index.lengths) - index.lengths
        if not np.array_equal(index.pointers, starts * WIDTHS[dtype]):
            raise DocumentError(
                "its sequences do not lie one after the other", where=main, remedy="merge the data set again"
            )
        if int(index.lengths.sum()) != tokens:
            raise DocumentError(
                f"holds {tokens:,} tokens where its index states {int(index.lengths.sum()):,}",
                where=path,
                remedy=REMEDY,
            )
        # Where each sequence ends; a document is one or more of them.
        after = np.cumsum(index.lengths)
        edges = index.documents
        if not len(edges) or edges[0] != 0 or edges[-1] != len(after) or bool(np.any(np.diff(edges) < 0)):
            raise DocumentError("its documents do not cover its sequences", where=main, remedy=REMEDY)
        ends = after[edges[1:][np.diff(edges) > 0] - 1] if len(after) else np.empty(0, np.int64)
        remedy = "run tools/preprocess_data.py with --append-eod and the study's tokenizer"
        check_stated_ends(path, mapped(path, dtype, 0, tokens), ends, eos_id, remedy)
        yield TokenPart(path, 0, dtype, ends)


@dataclass(frozen=True)
class _Index:
    """Tokens of each sequence, where it begins in bytes, and the sequence that each document begins with."""

    lengths: Numbers
    pointers: Numbers
    documents: Numbers


def _tokens_of(main: str) -> str:
    return f"{main.removesuffix('.idx')}.bin"


def _read(main: str) -> _Index:
    with open(main, "rb") as file:
        head = file.read(HEADER)
        if len(head) < HEADER:
            raise DocumentError("is cut inside its header", where=main, remedy=REMEDY)
        version, _, sequences, documents = struct.unpack("<QBQQ", head[len(MAGIC) :])
        if version != 1:
            raise DocumentError(f"is of version {version}, not 1", where=main, remedy=REMEDY)
        if size_of(main) < HEADER + 12 * sequences + 8 * documents:
            raise DocumentError(
                f"is cut: {sequences:,} sequences and {documents:,} ends do not fit in it", where=main, remedy=REMEDY
            )
        lengths = np.fromfile(file, "<i4", sequences).astype(np.int64)
        pointers = np.fromfile(file, "<i8", sequences)
        return _Index(lengths, pointers, np.fromfile(file, "<i8", documents))


MEGATRON = Megatron()
