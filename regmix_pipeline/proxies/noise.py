"""How much of a loss is luck: the noise floor of each target, from mixtures trained with several seeds.

A seed shifts all mixtures' losses together (the same weights at the start, the same order of documents), and that shift
ranks nothing. What blurs the ranks is what is left: with m mixtures and s seeds the model is loss = mixture + seed +
noise, and the noise is the residual of that two-way table, with (m - 1)(s - 1) degrees of freedom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Measured = Mapping[tuple[str, int], Array]
"""(mixture, seed) -> final losses, (T,), nats per token."""
ELSEWHERE = -1
"""Seed of runs trained elsewhere: no other run shares it, so nothing is known of its shift."""


@dataclass(frozen=True)
class NoiseFloor:
    """Signal and noise of every target; arrays of shape (T,), standard deviations in nats per token.

    Attributes:
        mixtures: mixtures that were trained with several seeds.
        seeds: seeds of each of them.
        noise: of one proxy's loss around its mixture's, seeds' common shifts taken out.
        low, high: 90% interval of it.
        shift: of the seeds' common shifts.
        signal: of the mixtures' true losses: what is left of the measured ones' variance without the noise.
    """

    mixtures: int
    seeds: int
    noise: Array
    low: Array
    high: Array
    shift: Array
    signal: Array

    @property
    def degrees_of_freedom(self) -> int:
        """Of the noise's estimate."""
        return (self.mixtures - 1) * (self.seeds - 1)

    @property
    def signal_to_noise(self) -> Array:
        """Signal / noise, (T,)."""
        return self.signal / np.maximum(self.noise, 1e-12)

    @property
    def reliability(self) -> Array:
        """Share of the measured losses' variance over mixtures that is signal, (T,), in [0, 1]."""
        return self.signal**2 / np.maximum(self.signal**2 + self.noise**2, 1e-24)


def noise_floor(measured: Measured) -> NoiseFloor | None:
    """The noise floor, or None when fewer than two mixtures have two seeds in common."""
    from scipy.stats import chi2

    table = _table(measured)
    if table is None:
        return None
    m, s, _ = table.shape
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean(axis=(0, 1))
    degrees = (m - 1) * (s - 1)
    variance = (residual**2).sum(axis=(0, 1)) / degrees
    low, high = (np.sqrt(variance * degrees / chi2.ppf(tail, degrees)) for tail in (0.95, 0.05))
    shift = np.maximum(table.mean(axis=0).var(axis=0, ddof=1) - variance / m, 0.0)
    means, counts = mixture_means(measured)
    everywhere = np.array(list(means.values())).var(axis=0, ddof=1)
    noise_of_means = variance * float(np.mean([1 / counts[mixture] for mixture in means]))
    signal = np.sqrt(np.maximum(everywhere - noise_of_means, 0.0))
    return NoiseFloor(m, s, np.sqrt(variance), low, high, np.sqrt(shift), signal)


def mixture_means(measured: Measured) -> tuple[dict[str, Array], dict[str, int]]:
    """Mixture -> mean loss over its seeds, (T,), the seeds' common shifts taken out; and how many seeds it has.

    A mixture with more seeds than the others would otherwise carry the further seeds' shifts into its row.
    """
    by_mixture: dict[str, dict[int, Array]] = defaultdict(dict)
    for (mixture, seed), losses in measured.items():
        by_mixture[mixture][seed] = losses
    first = _commonest(by_mixture)
    shifts: dict[int, Array] = {}
    for seed in {seed for of_seeds in by_mixture.values() for seed in of_seeds}:
        both = [of_seeds[seed] - of_seeds[first] for of_seeds in by_mixture.values() if {seed, first} <= set(of_seeds)]
        known = both and seed != ELSEWHERE
        shifts[seed] = np.mean(both, axis=0) if known else np.zeros_like(next(iter(measured.values())))
    means = {
        mixture: np.mean([losses - shifts[seed] for seed, losses in of_seeds.items()], axis=0)
        for mixture, of_seeds in by_mixture.items()
    }
    return means, {mixture: len(of_seeds) for mixture, of_seeds in by_mixture.items()}


def _commonest(by_mixture: Mapping[str, Mapping[int, Array]]) -> int:
    """The seed that most mixtures were trained with; the lowest of these."""
    seeds = sorted(seed for of_seeds in by_mixture.values() for seed in of_seeds if seed != ELSEWHERE)
    if not seeds:
        return ELSEWHERE
    return max(sorted(set(seeds)), key=seeds.count)


def _table(measured: Measured) -> Array | None:
    """Losses of the replicated mixtures with every one of their seeds, (m, s, T); the largest complete table."""
    seeds_of: dict[str, set[int]] = defaultdict(set)
    for mixture, seed in measured:
        if seed != ELSEWHERE:
            seeds_of[mixture].add(seed)
    best: tuple[int, list[str], Sequence[int]] = (0, [], ())
    for seeds in {tuple(sorted(group)) for group in seeds_of.values() if len(group) > 1}:
        mixtures = sorted(mixture for mixture, group in seeds_of.items() if group >= set(seeds))
        degrees = (len(mixtures) - 1) * (len(seeds) - 1)
        if degrees > best[0]:
            best = (degrees, mixtures, seeds)
    if not best[0]:
        return None
    return np.array([[measured[mixture, seed] for seed in best[2]] for mixture in best[1]])
