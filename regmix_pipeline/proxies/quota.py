"""Quota schedule: which domain each window comes from, exact at every moment.

RegMix throws dice for every document, so a proxy's executed mixture differs from the one asked for. Here the windows
are seats that domains take in turn: Tijdeman's chairman assignment (Discrete Mathematics 32, 1980) keeps every domain's
count, after every n windows, within 1 - 1/(2k - 2) windows of n x weight, for k domains.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.proxies.permutation import key_of


def quota_schedule(mixture: Mixture, windows: int) -> NDArray[np.int32]:
    """The domain of each window, as an index into ``mixture.parts``; shape (windows,), deterministic.

    The x-th draw (from 1) of a domain of weight w may not come before window (x - 1 + 1/q) / w and not after
    (x - 1/q) / w + 1, with q = 2k - 2: outside of that the bound would break. Taking the released draw with the
    earliest deadline meets all deadlines whenever that is possible, and Tijdeman proved that it is. Whole numbers only.

    Raises:
        MixtureError: the mixture has no domain or too many windows for exact arithmetic are asked for.
    """
    parts = [part for _, part in mixture.parts]
    domains = len(parts)
    if domains == 0:
        raise MixtureError("the mixture is empty", remedy="make it with Mixture.of or Mixture.from_weights")
    if domains == 1:
        return np.zeros(windows, dtype=np.int32)
    q = 2 * domains - 2
    if (windows + 2) * q * PARTS >= 2**62:
        raise MixtureError(f"{windows} windows are too many for exact arithmetic", remedy="use fewer windows")
    releases, keys = [], []
    for domain, part in enumerate(parts):
        draw = np.arange(1, windows * part // PARTS + 3, dtype=np.int64)
        releases.append(-(-((draw - 1) * q + 1) * PARTS // (q * part)))
        keys.append((draw * q - 1) * PARTS // (q * part) * domains + domain)  # ties go to the first domain
    release, key = np.concatenate(releases), np.concatenate(keys)
    order = np.argsort(release, kind="stable")
    return _earliest_deadline_first(release[order].tolist(), key[order].tolist(), windows, domains)


def multinomial_schedule(mixture: Mixture, windows: int, seed: int) -> NDArray[np.int32]:
    """The domain of each window drawn by dice, as RegMix's code does; shape (windows,), a function of the arguments.

    Here to measure what the quota is worth. Throw n is the same number for every mixture, as everything random is.
    """
    throws = np.random.Generator(np.random.Philox(key=key_of("throws", seed))).random(windows)
    edges = np.cumsum([part for _, part in mixture.parts]) / PARTS
    return np.minimum(np.searchsorted(edges, throws, side="right"), len(edges) - 1).astype(np.int32)


def _earliest_deadline_first(release: list[int], key: list[int], windows: int, domains: int) -> NDArray[np.int32]:
    waiting: list[int] = []
    chosen = [0] * windows
    pointer, last = 0, len(release)
    for window in range(windows):
        while pointer < last and release[pointer] <= window + 1:
            heappush(waiting, key[pointer])
            pointer += 1
        chosen[window] = heappop(waiting) % domains
    return np.array(chosen, dtype=np.int32)


def draw_numbers(schedule: NDArray[np.int32], domains: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each window the number of earlier draws of its domain, shape (windows,), and every domain's count."""
    order = np.argsort(schedule, kind="stable")
    counts = np.bincount(schedule, minlength=domains)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    numbers = np.empty(len(schedule), dtype=np.int64)
    numbers[order] = np.arange(len(schedule)) - np.repeat(starts, counts)
    return numbers, counts
