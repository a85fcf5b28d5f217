"""How much of a target's text is in a domain's training text: equal documents, and long runs of equal tokens.

It is counted in tokens, which all sources of a study share: equal texts have equal tokens. Documents and runs of tokens
have polynomial hashes of 64 bits, of which prefix sums make millions a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.tokens.extents import Tokens, opened_tokens

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
RUN_BYTES = 100
"""UTF-8 bytes that a run of tokens stands for: more than a phrase that people write twice by chance."""
SHORTEST_RUN, LONGEST_RUN = 8, 512
"""Tokens of a run."""
SHORT_ITEMS = 0.1
"""Share of a task's items that may be shorter than a run; runs are shortened so that others hold one."""
MOST_RUNS = 200_000
"""Runs of a target that are looked for; those of them are taken whose hashes are multiples of a number."""
MOST_RUNS_OF_ALL = 10_000_000
"""Runs of all targets together: with more than fifty large ones, fewer are looked for of each."""
BLOCK = 1 << 20
"""Tokens hashed at once. Of a longer document the hash is that of its beginning and its length."""
PREFIX_BITS = 24
"""Bits of a hash, at most, by which most runs are ruled out before they are looked up: a byte for each of their values,
and some eight values a wanted run."""
_BASE, _MIX = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


@dataclass(frozen=True)
class SplitText:
    """A split of a shard on disk.

    Attributes:
        tokens: the file of tokens, or the list of their extents.
        dtype: type of a token, ``uint16`` or ``uint32``.
        bytes: UTF-8 bytes of its text.
        items: whether its documents are items of a task, which may be shorter than a run.
    """

    tokens: Path
    dtype: str
    bytes: int
    items: bool = False

    def ends(self) -> Numbers:
        """The position after each document's last token, which is the end-of-text token."""
        return np.fromfile(f"{self.tokens}.index", "<u8").astype(np.int64)

    def values(self) -> Tokens:
        """The tokens, mapped and not read."""
        return opened_tokens(self.tokens, self.dtype)


@dataclass(frozen=True)
class TargetText:
    """A target's text, as hashes.

    Attributes:
        documents: a hash for each document.
        lengths: tokens of each document.
        runs: sorted hashes of some of its runs of tokens, each once.
        run_length: tokens of a run.
    """

    documents: Hashes
    lengths: Numbers
    runs: Hashes
    run_length: int

    @classmethod
    def of(cls, split: SplitText, targets: int = 1) -> TargetText:
        """Read a target's validation split. A run is inside a document, and without its end-of-text token.

        Args:
            split: of the target.
            targets: how many there are, which share `MOST_RUNS_OF_ALL`.
        """
        ends, tokens = split.ends(), split.values()
        total = int(ends[-1])
        length = min(max(SHORTEST_RUN, round(RUN_BYTES * total / max(split.bytes, 1))), LONGEST_RUN)
        if split.items:
            inside = np.quantile(np.diff(ends, prepend=0) - 1, SHORT_ITEMS)
            length = max(SHORTEST_RUN, min(length, int(inside)))
        documents, runs = [], [np.empty(0, np.uint64)]
        for group in _groups(ends):
            last = np.repeat(group[1:] - 1, np.diff(group))
            for start, sums in _blocks(tokens, group):
                if start == group[0]:
                    documents.append(_document_hashes(sums, group))
                hashes = _run_hashes(sums, length)
                place = start + np.arange(len(hashes))
                runs.append(hashes[place + length <= last[place - group[0]]])
        found = np.unique(np.concatenate(runs))
        every = np.uint64(max(1, -(-len(found) // min(MOST_RUNS, max(MOST_RUNS_OF_ALL // targets, 1)))))
        return cls(np.concatenate(documents), np.diff(ends, prepend=0), found[found % every == 0], length)


@dataclass(frozen=True)
class Overlap:
    """What a domain's training text holds of a target's text.

    Attributes:
        documents: share of the target's tokens that are in documents equal to one of the training text.
        runs: share of the target's runs of tokens that are in the training text.
        run_length: tokens of a run.
    """

    documents: float
    runs: float
    run_length: int


def overlaps(training: SplitText, targets: Mapping[str, TargetText]) -> dict[str, Overlap]:
    """Target -> what the training text holds of it. All of the training text is read, once.

    Args:
        training: a domain's training split.
        targets: name -> the target's text.
    """
    tokens, documents = training.values(), []
    lookups = {
        length: _Lookup([text.runs for text in targets.values() if text.run_length == length])
        for length in {text.run_length for text in targets.values()}
    }
    for group in _groups(training.ends()):
        for start, sums in _blocks(tokens, group):
            if start == group[0]:
                documents.append(_document_hashes(sums, group))
            for length, lookup in lookups.items():
                lookup.look_in(_run_hashes(sums, length))
    held = np.unique(np.concatenate(documents))
    return {
        name: Overlap(
            documents=float(text.lengths[np.isin(text.documents, held)].sum() / text.lengths.sum()),
            runs=lookups[text.run_length].share_of(text.runs),
            run_length=text.run_length,
        )
        for name, text in targets.items()
    }


class _Lookup:
    """Which of the wanted hashes were seen."""

    def __init__(self, runs: list[Hashes]) -> None:
        wanted = np.concatenate(runs)
        wanted.sort()  # in place: `numpy.unique` would hold them three times
        first = np.ones(len(wanted), dtype=bool)
        first[1:] = wanted[1:] != wanted[:-1]
        self._wanted = wanted[first]
        self._seen = np.zeros(len(self._wanted), dtype=bool)
        self._bits = min(len(self._wanted).bit_length() + 3, PREFIX_BITS)
        self._prefixes = np.zeros(1 << self._bits, dtype=bool)
        self._prefixes[self._prefix(self._wanted)] = True

    def look_in(self, hashes: Hashes) -> None:
        likely = hashes[self._prefixes[self._prefix(hashes)]]
        if len(likely):
            place = np.minimum(np.searchsorted(self._wanted, likely), len(self._wanted) - 1)
            self._seen[place[self._wanted[place] == likely]] = True

    def _prefix(self, hashes: Hashes) -> Numbers:
        return (hashes >> np.uint64(64 - self._bits)).astype(np.int64)

    def share_of(self, runs: Hashes) -> float:
        return float(self._seen[np.searchsorted(self._wanted, runs)].mean()) if len(runs) else 0.0


def _groups(ends: Numbers) -> Iterator[Numbers]:
    """Consecutive documents of at most a block together, or one longer: where the first begins, and all their ends."""
    edges = np.concatenate([[0], ends])
    first = 0
    while first < len(ends):
        after = max(int(np.searchsorted(edges, edges[first] + BLOCK, side="right")) - 1, first + 1)
        yield edges[first : after + 1]
        first = after


def _blocks(tokens: Tokens, group: Numbers) -> Iterator[tuple[int, Hashes]]:
    """First position and prefix sums of each block of a group, with what the longest run needs beyond it."""
    for start in range(int(group[0]), int(group[-1]), BLOCK):
        yield start, _prefix_sums(tokens[start : min(int(group[-1]), start + BLOCK + LONGEST_RUN - 1)])


def _document_hashes(sums: Hashes, group: Numbers) -> Hashes:
    """A hash for each of a group's documents, from the prefix sums of its first block."""
    edges = np.minimum(group - group[0], BLOCK)
    content = (sums[edges[1:]] - sums[edges[:-1]]) * _powers()[1][edges[:-1]]
    return _mixed(content ^ (np.diff(group).astype(np.uint64) * np.uint64(_BASE)))


def _run_hashes(sums: Hashes, length: int) -> Hashes:
    """Hashes of the runs of tokens that begin in a block, in order, from its prefix sums."""
    sums = sums[: BLOCK + length]
    return _mixed((sums[length:] - sums[:-length]) * _powers()[1][: max(len(sums) - length, 0)])


def _prefix_sums(tokens: NDArray[np.unsignedinteger]) -> Hashes:
    """Sums of the first tokens' values times powers of the base, modulo 2^64, from the sum of none on."""
    values = _mixed(tokens.astype(np.uint64) + np.uint64(1))
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _powers()[0][: len(values)])])


def _mixed(values: Hashes) -> Hashes:
    """Spread over all bits: the low bits of products and sums know nothing of high ones."""
    values = (values ^ (values >> np.uint64(32))) * np.uint64(_MIX)
    values = (values ^ (values >> np.uint64(29))) * np.uint64(_BASE)
    return values ^ (values >> np.uint64(32))


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """Powers of the base, which is odd, and of its inverse modulo 2^64."""
    count = BLOCK + LONGEST_RUN
    return tuple(  # pyright: ignore[reportReturnType]
        np.concatenate([np.ones(1, np.uint64), np.cumprod(np.full(count, base, np.uint64))])
        for base in (_BASE, pow(_BASE, -1, 1 << 64))
    )
