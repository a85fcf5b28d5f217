"""Parts of a source, put together in reading order: the same bytes as if one process had read all files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.tokens.manifest import BYTES_OF, SplitFile

BLOCK = 1 << 22
"""Bytes copied at once."""
DOCUMENT = np.dtype([("high", "<u8"), ("low", "<u8"), ("bytes", "<u8")])
"""An entry of a part's list of documents: the digest as two numbers, and the bytes of the text."""


@dataclass(frozen=True)
class Joined:
    """What came of joining parts."""

    splits: dict[str, SplitFile]
    duplicates: int
    """Documents left out because their text had come in an earlier part."""


def join_parts(parts: Sequence[Path], folder: Path, splits: Sequence[str], dtype: str) -> Joined:
    """Write every split's tokens and index to ``folder``: those of the parts, without texts of an earlier part.

    Equal texts fall into the same split, so each split is looked through by itself. That takes about 41 bytes of memory
    for each of its documents; tokens are copied in blocks.

    Args:
        parts: the parts' folders, in reading order; no text comes twice in one of them.
        folder: an existing folder.
        splits: which splits the parts have.
        dtype: type of a token, ``uint16`` or ``uint32``.
    """
    made, duplicates = {}, 0
    for split in splits:
        kept = _kept([part / f"{split}.documents" for part in parts])
        made[split] = _copied(split, parts, kept, folder, BYTES_OF[dtype])
        duplicates += sum(int((~each).sum()) for each in kept)
    return Joined(made, duplicates)


def first_of_equals(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each digest, given as two halves, is the first of its value."""
    # Stable, so that among equal digests the first read comes first.
    order = np.lexsort((low, high))
    again = np.ones(max(len(high) - 1, 0), dtype=bool)
    for half in (high, low):
        in_order = half[order]
        again &= in_order[1:] == in_order[:-1]
    first = np.ones(len(high), dtype=bool)
    first[order[1:][again]] = False
    return first


def _kept(lists: Sequence[Path]) -> list[NDArray[np.bool_]]:
    """For each part which of its documents are the first of their text."""
    counts = [path.stat().st_size // DOCUMENT.itemsize for path in lists]
    if len(lists) == 1:
        return [np.ones(counts[0], dtype=bool)]
    ends = np.cumsum(counts)
    high, low = (np.empty(ends[-1], dtype=np.uint64) for _ in range(2))
    for path, count, end in zip(lists, counts, ends, strict=True):
        documents = np.fromfile(path, DOCUMENT)
        high[end - count : end], low[end - count : end] = documents["high"], documents["low"]
    return np.split(first_of_equals(high, low), ends[:-1])


def _copied(
    split: str, parts: Sequence[Path], kept: Sequence[NDArray[np.bool_]], folder: Path, width: int
) -> SplitFile:
    """Copy a split's kept documents; ``width`` is the bytes of a token."""
    name = f"{split}.ds"
    digest, index_digest = hashlib.sha256(), hashlib.sha256()
    tokens = documents = text_bytes = 0
    with (folder / name).open("wb") as out, (folder / f"{name}.index").open("wb") as index:
        for part, keep in zip(parts, kept, strict=True):
            ends = np.fromfile(part / f"{name}.index", "<u8").astype(np.int64)
            with (part / name).open("rb") as file:
                for start, stop in _runs(ends, keep):
                    for block in _blocks(file, start * width, stop * width):
                        out.write(block)
                        digest.update(block)
            lengths = np.diff(ends, prepend=0)[keep]
            entries = (tokens + np.cumsum(lengths)).astype("<u8").tobytes()
            index.write(entries)
            index_digest.update(entries)
            tokens += int(lengths.sum())
            documents += int(keep.sum())
            text_bytes += int(np.fromfile(part / f"{split}.documents", DOCUMENT)["bytes"][keep].sum())
    return SplitFile(
        file=name,
        tokens=tokens,
        documents=documents,
        bytes=text_bytes,
        sha256=digest.hexdigest(),
        index_sha256=index_digest.hexdigest(),
    )


def _runs(ends: NDArray[np.int64], keep: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First token and the one past the last of every run of kept documents."""
    edges = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0))
    starts = np.concatenate([[0], ends])
    yield from ((int(starts[begin]), int(starts[end])) for begin, end in zip(edges[::2], edges[1::2], strict=True))


def _blocks(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    while start < stop:
        block = file.read(min(BLOCK, stop - start))
        if not block:
            raise EOFError(f"a part ends at byte {start:,} where {stop:,} were expected")
        start += len(block)
        yield block
