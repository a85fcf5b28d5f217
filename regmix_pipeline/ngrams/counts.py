"""Bigram counts of a domain's training text, and the probabilities that they give a target's tokens.

Only bigrams that the targets' samples hold are counted, so memory does not grow with the vocabulary or with the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.tokens.extents import Tokens

Numbers = NDArray[np.int64]
Array = NDArray[np.float64]
BLOCK = 1 << 20
"""Tokens that are read at once."""
PREFIX_BITS = 24
"""Bits of a hash by which most bigrams are ruled out before they are looked up."""
SMOOTHING = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Weights of a token's own frequency that are tried, in counts of its context."""
UNSEEN = 0.5
"""Added to the count of every token."""


def probabilities(
    text: Tokens, samples: Mapping[str, Numbers], held_out: Numbers, vocabulary: int, most: int
) -> tuple[dict[str, Array], float, int]:
    """Probabilities p(b | a) = (c(a, b) + k p(b)) / (c(a) + k) of every token b after a in the samples.

    The weight k of the token's own frequency p(b) is the one of `SMOOTHING` that gives ``held_out`` the least loss.

    Args:
        text: a domain's training tokens, perhaps memory-mapped.
        samples: name -> windows of tokens, (windows, length), whose tokens but the first of each are predicted.
        held_out: windows of the same domain's validation text, (windows, length).
        vocabulary: tokens are below it.
        most: tokens of the text that are counted at most: evenly spaced blocks, where it holds more.

    Returns:
        name -> probabilities, (windows x (length - 1),); k; and how many tokens were counted.

    >>> text = np.array([1, 2, 3] * 50, dtype=np.uint16)
    >>> found, k, counted = probabilities(text, {"own": np.array([[1, 2, 3]])}, np.array([[2, 3, 1]]), 10, 1000)
    >>> found["own"].round(2).tolist(), k, counted
    ([0.99, 0.99], 1.0, 150)
    """
    names = {**samples, "": held_out}
    last = {name: windows[:, 1:].ravel().astype(np.int64) for name, windows in names.items()}
    before = {name: windows[:, :-1].ravel().astype(np.int64) for name, windows in names.items()}
    pairs = _Wanted(np.concatenate([before[name] * vocabulary + last[name] for name in names]))
    single, counted = np.zeros(vocabulary, dtype=np.int64), 0
    for block in _blocks(text, most):
        tokens = block.astype(np.int64)
        single += np.bincount(tokens, minlength=vocabulary)
        pairs.count(tokens[:-1] * vocabulary + tokens[1:])
        counted += len(tokens)
    frequency = (single + UNSEEN) / (counted + UNSEEN * vocabulary)

    def given(name: str, k: float) -> Array:
        joint = pairs.counts_of(before[name] * vocabulary + last[name])
        # A context is followed as often as it occurs, but for the last token of each block.
        return (joint + k * frequency[last[name]]) / (np.maximum(single[before[name]], joint) + k)

    k = min(SMOOTHING, key=lambda each: -float(np.log(given("", each)).mean()))
    return {name: given(name, k) for name in samples}, k, counted


def _blocks(text: Tokens, most: int) -> Iterator[NDArray[np.unsignedinteger]]:
    """All of the text in blocks, or as many evenly spaced ones as hold ``most`` tokens."""
    size = min(BLOCK, most)
    number = -(-len(text) // size)
    kept = min(max(most // size, 1), number)
    for place in ((2 * np.arange(kept) + 1) * number) // (2 * kept):
        yield np.asarray(text[place * size : (place + 1) * size])


class _Wanted:
    """Counts of the bigrams that are asked for."""

    def __init__(self, codes: Numbers) -> None:
        self._codes = np.unique(codes)
        self._counts = np.zeros(len(self._codes), dtype=np.int64)
        self._likely = np.zeros(1 << PREFIX_BITS, dtype=bool)
        self._likely[_prefix(self._codes)] = True

    def count(self, codes: Numbers) -> None:
        likely = codes[self._likely[_prefix(codes)]]
        if len(likely):
            place = np.minimum(np.searchsorted(self._codes, likely), len(self._codes) - 1)
            self._counts += np.bincount(place[self._codes[place] == likely], minlength=len(self._codes))

    def counts_of(self, codes: Numbers) -> Numbers:
        return self._counts[np.searchsorted(self._codes, codes)]


def _prefix(codes: Numbers) -> Numbers:
    mixed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - PREFIX_BITS)).astype(np.int64)
