"""Windows of a run whose mixture may change at any step: which domain is next follows from a quota that is carried
over.

While the weights stay the same, the windows are those of `proxies.windows.TrainingWindows`, in the same order. Whatever
the weights, the k-th draw of a domain is the window that a run on a constant mixture draws k-th from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.proxies.spec import TokenFile
from regmix_pipeline.proxies.windows import TrainingWindows, Windows, domain_order

_BLOCK = 1024
"""Draws of a domain whose windows are looked up at once."""


class CarriedQuota:
    """Gives windows to domains so that each has had its due: the sum of its weights so far, in windows.

    The rule of `proxies.quota.quota_schedule`, with deadlines extrapolated from the weights of the moment: equal for
    constant weights. A domain never has a window more than its due, and none before its due is above zero. What a
    domain has missed when its weight falls it is given first.

    Args:
        domains: how many.

    Attributes:
        due: parts per million of a window that each domain's due is ahead of its draws, negative where it is behind.
    """

    def __init__(self, domains: int) -> None:
        self.due = [0] * domains
        self._seen = [False] * domains

    def draw(self, parts: Sequence[int], windows: int) -> list[int]:
        """The domains of the next windows.

        Args:
            parts: weights of the domains in parts per million, summing to a million.
            windows: how many.

        Raises:
            MixtureError: the parts do not sum to a million, or one is negative.
        """
        if sum(parts) != PARTS or min(parts) < 0 or len(parts) != len(self.due):
            raise MixtureError(f"parts {list(parts)} are not a mixture", remedy="they sum to a million, none negative")
        due = self.due
        self._seen = [seen or part > 0 for seen, part in zip(self._seen, parts, strict=True)]
        alive = [number for number, seen in enumerate(self._seen) if seen]
        q = 2 * len(alive) - 2
        drawn = []
        for _ in range(windows):
            for number in alive:
                due[number] += parts[number]
            chosen = alive[0] if q == 0 else self._next(alive, parts, q)
            due[chosen] -= PARTS
            drawn.append(chosen)
        return drawn

    def _next(self, alive: Sequence[int], parts: Sequence[int], q: int) -> int:
        """The domain whose released draw is due first. One is: dues sum to a window, so one is 1/k or more ahead."""
        first, best = -1, (0.0, 0.0)
        for number in alive:
            ahead = self.due[number] * q
            if ahead < PARTS:
                continue
            left = (q - 1) * PARTS - ahead
            if left < 0:  # overdue, which constant weights never are: the furthest first
                key = (-1.0, float(left))
            else:
                key = (0.0, float(left // (q * parts[number])) if parts[number] else np.inf)
            if first < 0 or key < best:
                first, best = number, key
        return first


class SteeredWindows(TrainingWindows):
    """The windows of a run so far, and more as its weights are given.

    Args:
        shards: domain -> training tokens, of every domain that may ever be drawn.
        context: tokens per window.
        seed: the run's seed.
        available: domain -> windows the run may see; default all.

    Raises:
        TokenError: see `Windows`.
    """

    def __init__(
        self, shards: Mapping[str, TokenFile], context: int, seed: int, available: Mapping[str, int] | None = None
    ) -> None:
        self.context, self.seed, self.total = context, seed, 0
        self.domains = self.names = sorted(shards)  # the order of a mixture's parts, in which ties are settled
        self.windows = [Windows(shards[domain], context) for domain in self.domains]
        self.available = [
            min(windows.count, (available or {}).get(domain, windows.count))
            for domain, windows in zip(self.domains, self.windows, strict=True)
        ]
        self.quota = CarriedQuota(len(self.domains))
        self.counts = [0] * len(self.domains)
        self._orders: list[list[int]] = [[] for _ in self.domains]
        self._starts: list[int] = []
        self._domains: list[int] = []

    @property
    def schedule(self) -> NDArray[np.int32]:
        """The domain of each window so far, as an index into `domains`."""
        return np.array(self._domains, dtype=np.int32)

    @property
    def by_weight(self) -> NDArray[np.int32]:
        """The same: each domain has one weight."""
        return self.schedule

    def steer(self, parts: Mapping[str, int], windows: int) -> None:
        """Choose further windows: domain -> parts per million; domains left out have none."""
        for number in self.quota.draw([parts.get(domain, 0) for domain in self.domains], windows):
            self._domains.append(number)
            self._starts.append(self._window(number, self.counts[number]) * self.context)
            self.counts[number] += 1
        self.total += windows

    def of_windows(self, first: int, windows: int) -> NDArray[np.int64]:
        """The domains of windows ``first`` on, as indices into `domains`."""
        return np.array(self._domains[first : first + windows], dtype=np.int64)

    def _window(self, number: int, draw: int) -> int:
        order = self._orders[number]
        if draw >= len(order):
            draws = np.arange(len(order), len(order) + _BLOCK, dtype=np.int64)
            count = self.windows[number].count
            order += domain_order(self.seed, self.domains[number], draws, count, self.available[number]).tolist()
        return order[draw]
