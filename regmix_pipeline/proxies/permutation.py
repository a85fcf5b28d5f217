"""Keyed pseudo-random permutations of [0, n) that are computed one element at a time, without a table.

A Feistel network permutes [0, 4^h) for the smallest 4^h >= n; values that fall outside [0, n) are sent through it again
until they are inside (cycle walking: Black and Rogaway, CT-RSA 2002). Any element of any permutation costs O(1), so the
order of a domain of billions of windows needs no memory and resumes anywhere.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import canonical_json

ROUNDS = 8
"""Feistel rounds; four already make it pseudo-random for independent round functions (Luby and Rackoff 1988)."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key_of(*parts: object) -> int:
    """A 64-bit key from JSON-able values."""
    return int.from_bytes(hashlib.sha256(canonical_json(parts).encode()).digest()[:8], "little")


def permuted(
    positions: NDArray[np.int64], size: int, key: int, stream: NDArray[np.int64] | int = 0
) -> NDArray[np.int64]:
    """Where a permutation of [0, size) sends ``positions``.

    Args:
        positions: shape (m,), each in [0, size).
        size: n >= 1.
        key: 64-bit key.
        stream: which of the key's permutations, one for all or shape (m,); for instance the epoch.

    Returns:
        Shape (m,), each in [0, size). For fixed key and stream, a bijection of [0, size).
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    with np.errstate(over="ignore"):
        base = _mixed(np.uint64(key) + np.asarray(stream, dtype=np.uint64) * _GOLDEN)
    base = np.broadcast_to(base, np.shape(positions))
    result = np.asarray(positions, dtype=np.uint64).copy()
    outside = np.arange(len(result))
    while len(outside):
        result[outside] = _feistel(result[outside], half, base[outside])
        outside = outside[result[outside] >= np.uint64(size)]
    return result.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: np.uint64, key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    with np.errstate(over="ignore"):
        for number in range(ROUNDS):
            left, right = right, left ^ (_mixed(right + key * np.uint64(2 * number + 3)) & mask)
    return left << half | right


def _mixed(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        value = np.asarray(value, dtype=np.uint64) + _GOLDEN
        value = (value ^ (value >> np.uint64(30))) * _FIRST
        value = (value ^ (value >> np.uint64(27))) * _SECOND
        return value ^ (value >> np.uint64(31))
