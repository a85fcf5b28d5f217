"""The text of tokens, as UTF-8 bytes: exact for byte-level tokenizers, as the library decodes for others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regmix_pipeline.tokens.tokenizer import load

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Decoded = Callable[[list[int]], bytes]
"""From a document's tokens to its text in UTF-8; special tokens, such as the one that ends it, stand for no text."""


def decoder_of(tokenizer: Path) -> Decoded:
    """How the tokens of a ``tokenizer.json`` become text again.

    The tokens of a byte-level tokenizer are bytes, so a table gives them back, also where a document begins or ends
    inside a character. Others are decoded by the library, which leaves special tokens out.
    """
    loaded = load(tokenizer)
    table = _table(loaded)
    if table is not None:
        return lambda tokens: b"".join([table[token] for token in tokens])
    return lambda tokens: loaded.decode(tokens, skip_special_tokens=True).encode()


def _table(loaded: Tokenizer) -> list[bytes] | None:
    """Bytes of every token of a byte-level tokenizer; None for another."""
    if not _is_byte_level(json.loads(loaded.to_str()).get("decoder")):
        return None
    letters = _letters()
    vocabulary = loaded.get_vocab(with_added_tokens=True)
    added = loaded.get_added_tokens_decoder()
    table = [b""] * (max(vocabulary.values()) + 1)
    for text, token in vocabulary.items():
        if token in added:
            table[token] = b"" if added[token].special else added[token].content.encode()
        elif all(letter in letters for letter in text):
            table[token] = bytes(letters[letter] for letter in text)
        else:  # no token of its alphabet
            table[token] = text.encode()
    return table


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    if decoder.get("type") == "Sequence":
        inner = decoder.get("decoders", [])
        return len(inner) == 1 and _is_byte_level(inner[0])
    return decoder.get("type") == "ByteLevel"


def _letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level tokenizers (GPT-2's table), letter -> byte."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + place): byte for place, byte in enumerate(others)}
