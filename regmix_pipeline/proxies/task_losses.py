"""A proxy's loss on a task: bits per byte of the right continuations given their prompts, and accuracy beside it.

Each item's loss is that of its right continuation in bits, over the continuation's UTF-8 bytes; the task's is the mean
over items, and its standard error that of a mean over items. In nats per token it is the same number in another unit:
times ln 2 and the bytes that a token of the right continuations stands for, a constant of task and tokenizer. So what
is fitted, searched and reported in nats per token is the bits per byte of the task.

An item with choices counts as answered right where no wrong choice has fewer bits per byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.proxies.continuations import Row, continuation_losses
from regmix_pipeline.proxies.measured import Loss
from regmix_pipeline.proxies.model import Decoder
from regmix_pipeline.proxies.spec import TargetFile
from regmix_pipeline.proxies.windows import check_token_file
from regmix_pipeline.tokens.task_items import Item, Request, read_items

Array = NDArray[np.float64]


class TaskSample:
    """Items of a task, all or evenly spaced ones, read once.

    Args:
        name: of the target.
        file: its items.
        items: how many are taken at most; None: all.
        choices: whether items with choices are answered too.

    Raises:
        TokenError: the file is missing or altered.
        ProxyError: it holds less than two items, from which no standard error follows.
    """

    def __init__(self, name: str, file: TargetFile, items: int | None = None, *, choices: bool = True) -> None:
        check_token_file(file)
        known = read_items(file.path)
        if len(known) < 2:
            raise ProxyError(
                f"task {name} has less than two items", where=str(file.path), remedy="give the task more items"
            )
        self.name, self.file, self.choices = name, file, choices
        count = len(known)
        number = min(items or count, count)
        self.items: list[Item] = [known[((2 * n + 1) * count) // (2 * number)] for n in range(number)]
        right = [item.right for item in known]
        self.nats_per_token = math.log(2) * sum(each.bytes for each in right) / sum(each.asked for each in right)
        """Nats per token that a bit per byte is."""

    def measure(self, model: Decoder) -> Loss:
        """The model's loss on the items.

        Raises:
            ProxyError: a token is outside the vocabulary, or a loss is not finite.
        """
        right, counts = self._bits_per_byte(model, [item.right for item in self.items])
        mean = float(right.mean())
        if not math.isfinite(mean):
            raise ProxyError(f"the loss on {self.name} is {mean}", where=self.name, remedy="lower the learning rate")
        error = float(right.std(ddof=1)) / math.sqrt(len(right))
        accuracy, its_error = self._accuracy(model, right) if self.choices else (None, None)
        unit = self.nats_per_token
        return Loss(mean * unit, error * unit, mean, error, int(counts.sum()), accuracy, its_error)

    def _accuracy(self, model: Decoder, right: Array) -> tuple[float | None, float | None]:
        asked = [number for number, item in enumerate(self.items) if len(item.requests) > 1]
        if not asked:
            return None, None
        wrong = [
            (number, request)
            for number in asked
            for place, request in enumerate(self.items[number].requests)
            if place != self.items[number].gold
        ]
        bits, _ = self._bits_per_byte(model, [request for _, request in wrong])
        least = np.full(len(self.items), np.inf)
        np.minimum.at(least, [number for number, _ in wrong], bits)
        hits = (right[asked] <= least[asked]).astype(float)
        error = float(hits.std(ddof=1)) / math.sqrt(len(hits)) if len(hits) > 1 else None
        return float(hits.mean()), error

    def _bits_per_byte(self, model: Decoder, requests: Sequence[Request]) -> tuple[Array, NDArray[np.int64]]:
        """Bits per byte of each continuation, (n,), and the tokens of it that were measured. Of one that does not fit
        the window its bytes count in proportion to its tokens."""
        rows: list[Row] = [(request.tokens, request.asked) for request in requests]
        losses, kept = continuation_losses(model, rows)
        size = np.array([request.bytes for request in requests]) * kept / [request.asked for request in requests]
        return losses / math.log(2) / size, kept
