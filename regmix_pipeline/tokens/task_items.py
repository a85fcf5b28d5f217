"""A task's items as tokens: one file of numbers beside a target's shard, written when the shard is, read when a model
is measured.

Prompt and continuation are encoded together, as a text that holds both would be. The continuation's tokens are those
that end behind the prompt's last character: a token that spans the boundary, such as one of a space and a word where
the prompt ends in the space, counts whole as the continuation's. Before the prompt stands the end-of-text token, as
before every document in training.

The file is little-endian uint32: numbers of items and of requests; for each item its number of requests and which of
them is right; for each request its tokens, the continuation's among them, and the continuation's UTF-8 bytes; then the
tokens of all requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.tokens.manifest import ItemsFile
from regmix_pipeline.tokens.tokenizer import TokenizerFile, load_for_text

FILE = "validation.items"
DTYPE = "<u4"


@dataclass(frozen=True)
class Request:
    """A prompt with a continuation, as tokens.

    Attributes:
        tokens: the end-of-text token, the prompt's and the continuation's.
        asked: how many of them, at the end, are the continuation's.
        bytes: UTF-8 bytes of the continuation.
    """

    tokens: NDArray[np.int64]
    asked: int
    bytes: int


@dataclass(frozen=True)
class Item:
    """An item of a task: its requests, one a choice, and which is right."""

    requests: tuple[Request, ...]
    gold: int

    @property
    def right(self) -> Request:
        """The right continuation."""
        return self.requests[self.gold]


class ItemsWriter:
    """Takes down the items among documents that pass, and writes them.

    Args:
        tokenizer: the study's.
    """

    def __init__(self, tokenizer: TokenizerFile) -> None:
        self.tokenizer, self._loaded = tokenizer, load_for_text(tokenizer.path, tokenizer.eos_token)
        self.items: list[Item] = []
        self.spanning = 0

    def noting(self, documents: Iterable[Any]) -> Iterator[Any]:
        """Pass the documents on.

        Raises:
            TokenError: the tokenizer makes no token of a continuation.
        """
        for document in documents:
            facts = document.metadata
            requests = tuple(self._request(prompt, text, facts["where"]) for prompt, text in facts["requests"])
            prompt = facts["requests"][facts["gold"]][0]
            item = Item(tuple(request for request, _ in requests), facts["gold"])
            self.spanning += bool(prompt) and requests[facts["gold"]][1] < len(prompt)
            self.items.append(item)
            yield document

    def _request(self, prompt: str, continuation: str, where: str) -> tuple[Request, int]:
        """The request, and the prompt's character at which its first counted token begins."""
        encoding = self._loaded.encode(prompt + continuation, add_special_tokens=False)
        first = next((n for n, (_, end) in enumerate(encoding.offsets) if end > len(prompt)), None)
        if first is None:
            raise TokenError(
                f"the tokenizer makes no token of the continuation {continuation[:40]!r}",
                where=where,
                remedy="leave the item out, or give a tokenizer that knows this text",
            )
        tokens = np.array([self.tokenizer.eos_id, *encoding.ids], dtype=np.int64)
        return Request(tokens, len(encoding.ids) - first, len(continuation.encode())), encoding.offsets[first][0]

    def write(self, folder: Path) -> ItemsFile:
        """Write the items into ``folder``."""
        requests = [request for item in self.items for request in item.requests]
        parts: list[Any] = [
            [len(self.items), len(requests)],
            *([len(item.requests), item.gold] for item in self.items),
            *([len(request.tokens), request.asked, request.bytes] for request in requests),
            *(request.tokens for request in requests),
        ]
        numbers = np.concatenate([np.asarray(part, dtype=DTYPE) for part in parts])
        numbers.tofile(folder / FILE)
        return ItemsFile(
            file=FILE,
            numbers=len(numbers),
            sha256=sha256_of(folder / FILE),
            items=len(self.items),
            with_choices=sum(len(item.requests) > 1 for item in self.items),
            tokens=sum(item.right.asked for item in self.items),
            bytes=sum(item.right.bytes for item in self.items),
            spanning=self.spanning,
        )


def read_items(path: Path) -> list[Item]:
    """The items of a file that `ItemsWriter.write` wrote.

    Raises:
        TokenError: it is cut short or was altered.
    """
    numbers = np.fromfile(path, dtype=DTYPE).astype(np.int64)
    try:
        count, total = numbers[:2].tolist()
        shapes = numbers[2 : 2 + 2 * count].reshape(count, 2).tolist()
        rows = numbers[2 + 2 * count : 2 + 2 * count + 3 * total].reshape(total, 3).tolist()
        place, requests = 2 + 2 * count + 3 * total, []
        for length, asked, size in rows:
            requests.append(Request(numbers[place : place + length], asked, size))
            place += length
        if place != len(numbers) or sum(number for number, _ in shapes) != total:
            raise ValueError
    except ValueError:
        raise TokenError(
            "the file of items is not whole",
            where=str(path),
            remedy="make the shard again: delete its folder and rerun",
        ) from None
    found, start = [], 0
    for number, gold in shapes:
        found.append(Item(tuple(requests[start : start + number]), gold))
        start += number
    return found
