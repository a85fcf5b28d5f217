"""Which split a text belongs to: a pure function of the text and the study's seed."""

from __future__ import annotations

import hashlib
from typing import Literal

SplitName = Literal["train", "validation"]

DIGEST_BYTES = 16
"""128 bits: among 10^12 texts the chance that any two share a digest is below 10^-14."""


def text_digest(text: str) -> bytes:
    """The 16 bytes that represent ``text`` when duplicates are looked for."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def split_of(digest: bytes, seed: int, validation_fraction: float) -> SplitName:
    """The split of the text with this digest; equal texts share it, so that exact duplicates cannot cross.

    The hash of digest and seed, read as a number in [0, 1), is below ``validation_fraction`` for validation. A larger
    fraction therefore keeps every validation text that a smaller one had.
    """
    drawn = hashlib.blake2b(digest, digest_size=8, key=f"split {seed}".encode()).digest()
    return "validation" if int.from_bytes(drawn, "big") < validation_fraction * 2.0**64 else "train"
