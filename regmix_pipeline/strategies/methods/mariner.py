"""MARINER: every target's floor, what epochs of each domain help and harm, and measured neighbours in the last step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from regmix_pipeline.errors import StudyError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.regression.estimator import Columns, MixtureRegressor
from regmix_pipeline.search.region import natural_inside, project_to_limits, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice, Run
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, sampled
from regmix_pipeline.study.settings.mixtures import MixtureSettings

RATES, POWERS, ONSETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0), (0.3, 0.5, 0.7, 1.0), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
"""The authors' grid of rho, p and tau."""
RIDGES = (1e-3, 1e-2, 0.1, 1.0)
FIRST_DEPTH, FIRST_RIDGE = 2.5, 1e-2
"""Depth of the floor and ridge with which shapes are compared."""
DEPTHS = tuple(np.geomspace(1.05, 6.0, 13).tolist())
FLAT_DEPTH = 1.5
"""Depth where deeper floors only fit better and better: the losses say nothing about it."""
FOLDS = 3
NEAR = 60.0
"""Concentration of the draws round the law's optimum."""
CANDIDATES = 2000
BANDWIDTHS = (0.05, 0.1, 0.2, 0.4)
"""Of the kernel over measured neighbours, in Hellinger distance."""


class MarinerLaw(MixtureRegressor):
    """loss = floor + exp(c - sum_i a_i B(E_i) + sum_i b_i H(E_i)), a_i, b_i >= 0, in epochs E_i = rate_i w_i.

    The benefit B(E) = 1 - exp(-(rho E)^p) saturates, the harm H(E) = softplus(log(1 + E) - tau)^2 comes after some
    e^tau - 1 epochs. rho, p and tau are shared by the domains of a target and chosen by inner folds on a grid, the
    amplitudes are non-negative least squares of log(loss - floor) with a ridge. The floor lies ``depth`` times the
    distance of the least loss from the median below the median.

    Args:
        epochs_per_weight: rate_i, epochs of each domain at weight 1, length d; None: nothing is repeated, so nothing
            harms, and a weight of 1 / d counts as one epoch.
        seed: of the inner folds.

    >>> weights = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    >>> losses = 2 + np.exp(-2 * (1 - np.exp(-weights[:, 0] * 8)))
    >>> law = MarinerLaw([8.0, 1.0, 1.0]).fit(weights, losses)
    >>> bool(np.abs(law.predict(weights) - losses).max() < 0.05)
    True
    """

    def __init__(self, epochs_per_weight: list[float] | None = None, seed: int = 0) -> None:
        self.epochs_per_weight, self.seed = epochs_per_weight, seed

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        fold = np.random.Generator(np.random.PCG64(self.seed)).permutation(len(X)) % FOLDS
        shapes = [(rate, power, onset) for rate in RATES for power in POWERS for onset in self._onsets]
        columns = {shape: self._columns(X, shape) for shape in shapes}
        found = [self._fit_one(columns, y, sample_weight, fold) for y in Y.T]
        return {name: np.array([one[name] for one in found]) for name in ("shape", "floor", "level", "amplitude")}

    @property
    def _onsets(self) -> tuple[float, ...]:
        return ONSETS if self.epochs_per_weight is not None else ONSETS[:1]

    def _fit_one(
        self, columns: dict[tuple[float, float, float], Array], y: Array, weight: Array, fold: Columns
    ) -> dict[str, Any]:
        """One target: the shape of least error in the exponent, then ridge and depth of least error in the loss."""
        first = next(iter(columns.values()))
        middle, span = float(np.median(y)), float(np.median(y) - y.min())
        if np.ptp(y) <= 1e-12 * (1 + abs(middle)):
            return {"shape": next(iter(columns)), "floor": middle, "level": -60.0, "amplitude": first[0] * 0.0}
        span = max(span, 0.1 * float(np.ptp(y)))

        def held_out(C: Array, depth: float, ridge: float, in_exponent: bool) -> float:
            floor = middle - depth * span
            target = np.log(np.maximum(y - floor, 1e-3 * span))
            error = 0.0
            for k in range(FOLDS):
                train, held = fold != k, fold == k
                level, amplitude = _non_negative(C[train], target[train], weight[train], ridge)
                exponent = np.minimum(level + C[held] @ amplitude, 12.0)
                off = exponent - target[held] if in_exponent else floor + np.exp(exponent) - y[held]
                error += float(weight[held] @ off**2)
            return error

        shape = min(columns, key=lambda each: held_out(columns[each], FIRST_DEPTH, FIRST_RIDGE, True))
        C = columns[shape]
        ridge = min(RIDGES, key=lambda each: held_out(C, FIRST_DEPTH, each, True))
        depth = min(DEPTHS, key=lambda each: held_out(C, each, ridge, False))
        if depth == DEPTHS[-1]:
            depth = FLAT_DEPTH
        floor = middle - depth * span
        level, amplitude = _non_negative(C, np.log(np.maximum(y - floor, 1e-3 * span)), weight, ridge)
        return {"shape": shape, "floor": floor, "level": level, "amplitude": amplitude}

    def _columns(self, X: Array, shape: tuple[float, float, float]) -> Array:
        """-B and H of every domain's epochs, (n, 2d); -B alone where nothing is repeated, (n, d)."""
        rate, power, onset = shape
        if self.epochs_per_weight is None:
            return np.expm1(-((rate * X.shape[1] * X) ** power))
        epochs = X * np.asarray(self.epochs_per_weight)
        return np.column_stack(
            [np.expm1(-((rate * epochs) ** power)), np.logaddexp(0.0, np.log1p(epochs) - onset) ** 2]
        )

    def _predict(self, X: Array, columns: Columns) -> Array:
        known = self.learned_
        exponents = [
            known["level"][j] + self._columns(X, tuple(known["shape"][j])) @ known["amplitude"][j] for j in columns
        ]
        return known["floor"][columns] + np.exp(np.minimum(np.column_stack(exponents), 12.0))


def _non_negative(C: Array, y: Array, weight: Array, ridge: float) -> tuple[float, Array]:
    """Level and amplitudes not below 0 of least squares with a ridge on the amplitudes."""
    share = weight / weight.sum()
    centre, middle = share @ C, float(share @ y)
    root = np.sqrt(weight)
    A = np.concatenate([root[:, None] * (C - centre), np.sqrt(ridge) * np.eye(C.shape[1])])
    amplitude, _ = nnls(A, np.r_[root * (y - middle), np.zeros(C.shape[1])])
    return middle - float(centre @ amplitude), amplitude


@dataclass(frozen=True)
class Mariner:
    """MARINER (the Marin project 2026), as its public notes describe it: `MarinerLaw` for every target, fitted to the
    natural mixture and sampled ones whose runs repeat domains as the target run would, and the least weighted sum of
    the laws under the limits.

    Its authors report that such laws find the basin and do not order the mixtures in it, which a kernel over measured
    neighbours does. So part of the proxies is drawn near the laws' optimum, the laws are fitted again, and the answer
    is the mixture of least law plus correction: the mean residual of its measured neighbours, weighted by a Gaussian
    kernel with one neighbour of no residual added, so that far from all of them the law stands alone.

    What differs: floors hang on the median of the measured losses (the authors' own fallback) instead of repeats of the
    natural mixture, and know no margin for noise; the ridge is chosen after the shape, not with it; descent from the
    best measured mixtures stands for SLSQP, and no tasks are screened out.

    Attributes:
        last: share of the proxies that are drawn near the laws' optimum; 0 leaves the last step out.
    """

    name = "mariner"
    paper = "the Marin project, MARINER, github.com/marin-community/marin, experiments/domain_phase_mix"

    last: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a share that leaves nothing to fit.

        Raises:
            StudyError: not in [0, 0.75].
        """
        if not 0 <= self.last <= 0.75:
            raise StudyError(
                f"a share of {self.last:g}", where="strategies.options.mariner.last", remedy="from 0 to 0.75"
            )

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        count = affordable(arena, self.name, flops)
        near = round(self.last * count)
        natural = natural_inside(arena.prior, arena.limits)
        drawn = sampled(arena, MixtureSettings(count=count - near), seed)
        # The panel holds the natural mixture once.
        first = [natural, *(mixture for mixture in drawn if mixture.id != natural.id)][: count - near]
        runs = list(arena.train(first, arena.proxy, seed))
        optimum, law = self._optimum(arena, runs, seed)
        generator = np.random.Generator(np.random.Philox(key=int(fingerprint("mariner", seed), 16)))
        if near:
            points = np.concatenate([optimum[None], _around(arena, optimum, 4 * near, generator)])
            found = {mixture.id: mixture for mixture in (rounded_inside(point, arena.limits) for point in points)}
            known = {mixture.id for mixture in first}
            runs += arena.train([found[each] for each in found if each not in known][:near], arena.proxy, seed)
            optimum, law = self._optimum(arena, runs, seed)
            optimum = _by_neighbours(arena, runs, law, optimum, generator)
        return Choice.of(rounded_inside(optimum, arena.limits), proxies=len(runs), near_the_optimum=near)

    @staticmethod
    def _optimum(arena: Arena, runs: Sequence[Run], seed: int) -> tuple[Array, MarinerLaw]:
        """The mixture of least weighted laws under the limits, (d,), and the laws."""
        from regmix_pipeline.strategies.descent import minimised

        weights, losses, targets = loss_table(arena, runs)
        shares = np.array([arena.objective[target] for target in targets])
        law = MarinerLaw(None if arena.epochs is None else arena.epochs.tolist(), seed).fit(weights, losses)
        best = weights[np.argsort(losses @ shares, kind="stable")[:4]]
        starts = np.concatenate([arena.prior[None] / arena.prior.sum(), best])
        asked = np.arange(len(targets))
        return minimised(lambda w: law.predict_targets(w, asked) @ shares, arena.limits, starts, 100, 100), law


def _around(arena: Arena, centre: Array, count: int, generator: np.random.Generator) -> Array:
    """Mixtures near one, inside the limits, (count, d)."""
    drawn = generator.standard_gamma(NEAR * (centre + 1e-3), size=(count, len(centre)))
    return project_to_limits(drawn / drawn.sum(axis=1, keepdims=True), arena.limits)


def _by_neighbours(
    arena: Arena, runs: Sequence[Run], law: MarinerLaw, optimum: Array, generator: np.random.Generator
) -> Array:
    """Of mixtures near the optimum, and the measured ones, the one of least law and correction, (d,)."""
    weights, losses, targets = loss_table(arena, runs)
    shares, asked = np.array([arena.objective[target] for target in targets]), np.arange(len(targets))
    residual = losses @ shares - law.predict_targets(weights, asked) @ shares
    among = _distances(weights, weights)

    def left_out(width: float) -> float:
        kernel = np.exp(-(among**2) / (2 * width**2))
        np.fill_diagonal(kernel, 0.0)
        return float(((residual - kernel @ residual / (kernel.sum(axis=1) + 1)) ** 2).sum())

    width = min(BANDWIDTHS, key=left_out)
    best = weights[int((losses @ shares).argmin())]
    allowed = weights[arena.limits.allow(weights, 1e-5)]
    around = [_around(arena, centre, CANDIDATES // 2, generator) for centre in (optimum, best)]
    points = np.concatenate([optimum[None], allowed, *around])
    kernel = np.exp(-(_distances(points, weights) ** 2) / (2 * width**2))
    value = law.predict_targets(points, asked) @ shares + kernel @ residual / (kernel.sum(axis=1) + 1)
    return points[int(value.argmin())]


def _distances(one: Array, other: Array) -> Array:
    """Hellinger distances of mixtures, (m, d) and (n, d) -> (m, n)."""
    return np.sqrt(np.maximum(1 - np.sqrt(one) @ np.sqrt(other).T, 0.0))
