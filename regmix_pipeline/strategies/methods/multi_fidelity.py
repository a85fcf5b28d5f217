"""Bayesian optimisation over mixture and size: cheap runs say where dear ones are worth it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.laws.corrected import matern
from regmix_pipeline.search.candidates import candidates_inside
from regmix_pipeline.search.region import Region, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Run, Size
from regmix_pipeline.strategies.methods.experiments import (
    FEWEST,
    affordable,
    loss_table,
    objective_shares,
    sampled,
    smaller_proxy,
)
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.search import SearchSettings

Sizes = NDArray[np.int_]
LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)
"""Length scales tried, in distances of square roots of weights."""
NOISES = (1e-4, 1e-3, 1e-2, 0.1, 0.5)
"""Noise variances tried, over the process's."""
CORRELATIONS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Correlations of the two sizes tried."""
POOL = 300
"""Mixtures that are compared in every round."""
OUTCOMES = 7
"""Points of the expectation over a measurement's outcome."""


@dataclass(frozen=True)
class TwoSizes:
    """A Gaussian process over mixtures at two sizes: a mean for each, and Matern 5/2 in the square roots of weights
    times a correlation of the sizes.

    Attributes:
        roots: of the measured weights, (n, d).
        sizes: number of each one's size, (n,), 0 or 1.
        length, noise, correlation: chosen by the marginal likelihood.
        variance: of the process.
        means: of the two sizes, (2,).
        factor: Cholesky factor of the measurements' covariance over the variance, (n, n).
        explained: that covariance's inverse on the measurements' differences from their means, (n,).
    """

    roots: Array
    sizes: Sizes
    length: float
    noise: float
    correlation: float
    variance: float
    means: Array
    factor: Array
    explained: Array

    @classmethod
    def fitted(cls, weights: Array, sizes: Sizes, values: Array) -> TwoSizes:
        """The process of most marginal likelihood on a grid; variance and means have closed forms (Rasmussen and
        Williams 2006, section 2.7).

        Args:
            weights: (n, d).
            sizes: 0 or 1, (n,); both occur.
            values: measured, (n,).
        """
        roots, n = np.sqrt(weights), len(values)
        one_hot = np.eye(2)[sizes]
        best, found = -np.inf, None
        for length in LENGTHS:
            base = matern(roots, roots, length)
            for correlation, noise in product(CORRELATIONS, NOISES):
                covariance = base * np.where(sizes[:, None] == sizes, 1.0, correlation) + noise * np.eye(n)
                factor = cholesky(covariance, lower=True)
                solved = cho_solve((factor, True), np.column_stack([one_hot, values]))
                means = np.linalg.solve(one_hot.T @ solved[:, :2], one_hot.T @ solved[:, 2])
                explained = solved[:, 2] - solved[:, :2] @ means
                variance = max(float((values - one_hot @ means) @ explained) / n, 1e-300)
                likelihood = -n / 2 * np.log(variance) - np.log(np.diag(factor)).sum()
                if likelihood > best:
                    best = likelihood
                    found = cls(roots, sizes, length, noise, correlation, variance, means, factor, explained)
        assert found is not None
        return found

    def mean(self, weights: Array, size: int) -> Array:
        """Of mixtures (m, d) at a size, (m,)."""
        return self.means[size] + self._between(np.sqrt(weights), np.full(len(weights), size)) @ self.explained

    def belief(self, weights: Array) -> tuple[Array, Array]:
        """Mean and covariance of mixtures (m, d) at size 0, then at size 1, (2m,) and (2m, 2m)."""
        roots, sizes = np.sqrt(np.tile(weights, (2, 1))), np.repeat([0, 1], len(weights))
        seen = self._between(roots, sizes)
        prior = matern(roots, roots, self.length) * np.where(sizes[:, None] == sizes, 1.0, self.correlation)
        left = prior - seen @ cho_solve((self.factor, True), seen.T)
        return self.means[sizes] + seen @ self.explained, self.variance * left

    def _between(self, roots: Array, sizes: Sizes) -> Array:
        """Prior covariance with the measurements over the variance, (m, n)."""
        return matern(roots, self.roots, self.length) * np.where(sizes[:, None] == self.sizes, 1.0, self.correlation)


@dataclass(frozen=True)
class MultiFidelity:
    """Multi-fidelity Bayesian optimisation of the objective (Yen et al. 2025), over two sizes of proxy.

    Some mixtures are trained at both sizes. Then, round by round, runs are added of a mixture at a size whose outcome
    is expected to lower the least predicted loss at the larger size most, per FLOP (the knowledge gradient, Frazier et
    al. 2009, over the cost); within a round each run's effect on the uncertainty is counted before the next is chosen.
    The answer is the least mean at the larger size under the limits.

    What differs: the paper's process is over mixture, size and steps, up to the target's own; here sizes are those of
    the study's two proxies, a run is always finished, and what parts the larger proxy from the target run is left open.
    The paper leaves the rule open and compares some. The expected improvement at the largest size over the cost would
    always buy the smallest; the knowledge gradient does not.

    Attributes:
        first: share of the budget for the mixtures trained at both sizes.
        rounds: that share out the rest.
    """

    name = "multi_fidelity"
    paper = "Yen et al., Data Mixture Optimization: A Multi-fidelity Multi-scale Bayesian Framework, 2503.21023"

    first: float = 0.4
    rounds: int = 6

    def __post_init__(self) -> None:
        """Refuse options that leave nothing to do.

        Raises:
            StudyError: a share beyond (0, 1], or no round.
        """
        if not 0 < self.first <= 1 or self.rounds < 1:
            raise StudyError(
                "no share or no rounds",
                where="strategies.options.multi_fidelity",
                remedy="first from 0 to 1, one round at least",
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`.

        Raises:
            StudyError: the budget is too small, or the arena has no smaller proxy.
        """
        from regmix_pipeline.strategies.descent import minimised

        sizes = (smaller_proxy(arena, self.name), arena.proxy)
        both = sum(size.flops for size in sizes)
        count = max(int(self.first * affordable(arena, self.name, flops, both, FEWEST // 2)), FEWEST // 2)
        mixtures = sampled(arena, MixtureSettings(count=count), seed)
        runs = [list(arena.train(mixtures, size, seed)) for size in sizes]
        left = flops * (1 + 1e-9) - count * both
        generator = np.random.Generator(np.random.Philox(key=int(fingerprint("multi_fidelity", seed), 16)))
        for remaining in range(self.rounds, 0, -1):
            picks, spent = self._round(arena, runs, sizes, left, left / remaining, generator)
            for number, size in enumerate(sizes):
                runs[number] += arena.train(picks[number], size, seed)
            left -= spent
        process, weights, values = _learned(arena, runs)
        order = np.argsort(values[process.sizes == 1], kind="stable")[:6]
        starts = np.concatenate([arena.prior[None] / arena.prior.sum(), weights[process.sizes == 1][order]])
        found = minimised(lambda w: process.mean(w, 1), arena.limits, starts, 150, 150)
        return Choice.of(
            rounded_inside(found, arena.limits),
            proxies=len(runs[1]),
            small_proxies=len(runs[0]),
            correlation=process.correlation,
        )

    def _round(
        self,
        arena: Arena,
        runs: list[list[Run]],
        sizes: tuple[Size, Size],
        left: float,
        share: float,
        generator: np.random.Generator,
    ) -> tuple[list[list[Mixture]], float]:
        """Mixtures to train at either size until the round's share is spent, and what they cost."""
        process, weights, values = _learned(arena, runs)
        larger = process.sizes == 1
        region = Region.of(arena.limits, arena.prior, weights, SearchSettings())
        best = weights[larger][int(values[larger].argmin())]
        pool = candidates_inside(region, best[None], POOL, generator)
        rounded = [rounded_inside(row, arena.limits) for row in pool[generator.permutation(len(pool))[:POOL]]]
        mixtures = list({mixture.id: mixture for mixture in rounded}.values())
        mean, covariance = process.belief(np.array([mixture.vector(arena.domains) for mixture in mixtures]))
        cost = np.repeat([size.flops for size in sizes], len(mixtures))
        noise = process.variance * process.noise
        picks: list[list[Mixture]] = [[], []]
        taken = [{run.mixture.id for run in of_size} for of_size in runs]
        fresh = np.array([mixture.id not in of_size for of_size in taken for mixture in mixtures])
        spent = 0.0
        while True:
            possible = fresh & (cost <= left - spent)
            if spent >= share or not possible.any():
                return picks, spent
            gain = np.where(possible, knowledge_gradient(mean, covariance, noise) / cost, -1.0)
            row = int(gain.argmax())
            picks[row // len(mixtures)].append(mixtures[row % len(mixtures)])
            fresh[row] = False
            column = covariance[:, row]
            covariance = covariance - np.outer(column, column) / (column[row] + noise)
            spent += float(cost[row])


def knowledge_gradient(mean: Array, covariance: Array, noise: float) -> Array:
    """By how much each measurement is expected to lower the least mean of the second half of the points, (2m,).

    Args:
        mean, covariance: of the points, (2m,) and (2m, 2m).
        noise: variance of a measurement.
    """
    half = len(mean) // 2
    points, shares = np.polynomial.hermite_e.hermegauss(OUTCOMES)
    step = covariance[:, half:] / np.sqrt(np.maximum(np.diag(covariance), 0.0) + noise)[:, None]  # (2m, m)
    outcomes = np.stack([(mean[half:] + point * step).min(axis=1) for point in points])  # (7, 2m)
    return mean[half:].min() - shares / shares.sum() @ outcomes


def _learned(arena: Arena, runs: list[list[Run]]) -> tuple[TwoSizes, Array, Array]:
    """The process of all runs so far, their weights (n, d) and their objectives (n,)."""
    shares = objective_shares(arena)
    tables = [loss_table(arena, of_size)[:2] for of_size in runs]
    weights = np.concatenate([table[0] for table in tables])
    values = np.concatenate([table[1] @ shares for table in tables])
    sizes = np.repeat([0, 1], [len(of_size) for of_size in runs])
    return TwoSizes.fitted(weights, sizes, values), weights, values
