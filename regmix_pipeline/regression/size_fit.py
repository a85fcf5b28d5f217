"""Fit the law of size, and judge its members by runs of the larger sizes that were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.laws.least_squares import jacobian
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.sizes import (
    LAW,
    SINGLE,
    SLOPES,
    ModelSize,
    SizeLaw,
    SizeRuns,
    SizeScore,
    helped,
    saturation_of,
)

FEWEST = 8
"""Mixtures of another size below which nothing is fitted."""
SLOPE_WIDTHS = (0.1, 0.3, 1.0)
"""Prior deviations of a target's slope around the mean slope, at the largest size trained, that are tried."""
HELP_WIDTHS = (0.05, 0.15, 0.5)
"""The same of a domain's help."""
SURE = 2.0
"""Standard errors that a member's gain has to exceed: it is extrapolated, and its errors with it."""
SAME = 1e-6
"""Largest difference of a weight at which two mixtures are one."""
FOLDS, PARTITIONS = 4, 6
"""Folds of the other sizes' mixtures, and how often they are divided anew."""
STEPS = 12
"""Of Gauss and Newton."""
DRAWS = 200
"""Laws drawn from what the runs leave open, for chances and intervals."""
OPEN_SLOPE, OPEN_HELP = 0.05, 0.03
"""Deviations of a target's slope and of a domain's help, for each unit of the logarithm of size, before any run of a
second size is seen; the synthetic worlds' own are of this order (`benchmarks/size_law.py` has the calibration)."""


def fit_sizes(
    fitted: FittedRegressor,
    base: ModelSize,
    others: Sequence[SizeRuns],
    target_weights: Mapping[str, float],
    seed: int = 0,
) -> SizeLaw | None:
    """Fit every member of the family to runs of other sizes, and take what held-out folds of these runs confirm.

    A member with more parameters is used where its error on mixtures left out is below that of the one before it by
    more than two standard errors of the difference over mixtures. A mixture's loss at the base size may be known;
    of the larger runs left out nothing is.

    Args:
        fitted: the regressors of the base size.
        base: that size.
        others: runs of larger sizes, at least `FEWEST` mixtures together.
        target_weights: target -> weight in the objective, by whose differences members are judged.
        seed: of folds and draws.

    Returns:
        None where there are too few runs.
    """
    others = [each for each in others if each.size.over(base) > 0 and len(each.weights)]
    if sum(len(each.weights) for each in others) < FEWEST:
        return None
    rows = _Rows.of(fitted, base, others, fitted.shares(target_weights))
    generator = np.random.Generator(np.random.PCG64(seed))
    partitions = [_folds(rows.group, generator) for _ in range(PARTITIONS)]
    members = {SINGLE: [(0.0, 0.0)], SLOPES: [(width, 0.0) for width in SLOPE_WIDTHS]}
    if rows.law is not None:
        members[LAW] = [(slope, help_) for slope in (0.0, *SLOPE_WIDTHS) for help_ in HELP_WIDTHS]
    found = {
        law: min((_held_out(rows, partitions, each) for each in widths), key=_Held.error)
        for law, widths in members.items()
    }
    used = SINGLE
    for law in members:
        gain = found[used].losses - found[law].losses
        if gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)):
            used = law
    single = found[SINGLE].losses
    scores = []
    for law, held in found.items():
        gain = single - held.losses
        scores.append(
            SizeScore(
                law,
                held.correlation,
                held.error(),
                float(gain.mean()),
                float(gain.std(ddof=1) / np.sqrt(len(gain))),
                held.widths,
            )
        )
    fit = _fitted(rows, np.ones(len(rows.group), dtype=bool), found[used].widths)
    return SizeLaw(
        base,
        rows.largest,
        used,
        tuple(scores),
        rows.middle,
        fit.level / rows.largest,
        fit.slope / rows.largest,
        fit.help / rows.largest,
        _open(rows, generator),
    )


def _help_slopes(law: SaturationLaw, weights: Array, change: Array) -> Array:
    """Derivatives of what the law predicts by its helps, where they are changed, (m, T, d)."""
    d, known = law.n_features_in_, law.learned_
    theta = known["theta"].copy()
    theta[:, 2 : 2 + d] += change
    _, J = jacobian(law.exponent, theta, weights)
    return (known["scale"][:, None, None] * J[:, :, 2 : 2 + d]).transpose(1, 0, 2)


@dataclass(frozen=True)
class _Rows:
    """The other sizes' runs, side by side.

    Attributes:
        at: size of each row over the base, as a share of the largest, (m,).
        group: number of each row's size, (m,).
        largest: logarithm of the largest size over the base.
        weights: (m, d). losses: (m, T). base: the same mixtures at the base size, (m, T).
        middle: (T,), mean prediction over the base size's mixtures.
        noise: deviation of what a straight line on the prediction leaves of each target, (T,).
        share: of each target in the objective, (T,).
        law: the saturation law.
    """

    at: Array
    group: NDArray[np.int64]
    largest: float
    weights: Array
    losses: Array
    base: Array
    middle: Array
    noise: Array
    share: Array
    law: SaturationLaw | None

    @classmethod
    def of(cls, fitted: FittedRegressor, base: ModelSize, others: Sequence[SizeRuns], share: Array) -> _Rows:
        sizes = np.array([each.size.over(base) for each in others])
        group = np.repeat(np.arange(len(others)), [len(each.weights) for each in others])
        weights = np.concatenate([each.weights for each in others])
        losses, at_base = np.concatenate([each.losses for each in others]), _at_base(fitted, weights)
        # What no line explains says how far a run can be trusted; targets borrow from each other, rows are few.
        left = np.stack([_line_residual(losses[group == k], at_base[group == k]) for k in range(len(others))]).mean(
            axis=0
        )
        spread = np.maximum(losses.std(axis=0), 1e-9)
        pooled = np.sqrt(np.mean((left / spread) ** 2))
        noise = np.sqrt((left**2 + (pooled * spread) ** 2) / 2) + 1e-6 * spread
        middle = fitted.predict(fitted.weights).mean(axis=0)
        return cls(
            sizes[group] / sizes.max(),
            group,
            float(sizes.max()),
            weights,
            losses,
            at_base,
            middle,
            noise,
            share,
            saturation_of(fitted),
        )


def _at_base(fitted: FittedRegressor, weights: Array) -> Array:
    """Losses of mixtures (m, d) at the base size, (m, T): as measured, else as predicted.

    What a regressor misses of a mixture at the base size it misses at the larger one as well. Beside a prediction that
    would look like a change with size, and be extrapolated.
    """
    apart = np.abs(weights[:, None] - fitted.weights[None]).max(axis=2)
    known = apart.min(axis=1) < SAME
    found = fitted.predict(weights)
    found[known] = fitted.losses[apart.argmin(axis=1)[known]]
    return found


def _line_residual(losses: Array, predicted: Array) -> Array:
    """Deviation around the straight line on the predictions, of each target, (T,)."""
    x, y = predicted - predicted.mean(axis=0), losses - losses.mean(axis=0)
    slope = (x * y).sum(axis=0) / np.maximum((x * x).sum(axis=0), 1e-12)
    return np.sqrt(((y - slope * x) ** 2).sum(axis=0) / max(len(x) - 2, 1))


@dataclass(frozen=True)
class _Fit:
    """Parameters at the largest size: levels (T,), slopes (T,), helps (d,), and what slopes and helps leave open."""

    level: Array
    slope: Array
    help: Array
    covariance: Array


def _open(rows: _Rows, generator: np.random.Generator) -> Array:
    """Deviations of slopes and helps that the runs leave open, for each unit of size, (B, T + d).

    Whatever member is used: that held-out folds do not confirm slopes does not mean that there are none.
    """
    widths = (OPEN_SLOPE * rows.largest, OPEN_HELP * rows.largest)
    values, vectors = np.linalg.eigh(_fitted(rows, np.ones(len(rows.group), dtype=bool), widths).covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return generator.standard_normal((DRAWS, len(root))) @ root.T / rows.largest


def _fitted(rows: _Rows, use: NDArray[np.bool_], widths: tuple[float, float]) -> _Fit:
    """The least squares of the rows in use under priors of these widths; a width of 0 pins."""
    at, group = rows.at[use][:, None], rows.group[use]
    weights, losses, base = rows.weights[use], rows.losses[use], rows.base[use] - rows.middle
    (m, T), d = losses.shape, weights.shape[1]
    groups = np.unique(group)
    free_slopes, free_help = widths[0] > 0, widths[1] > 0 and rows.law is not None
    # Columns: the mean slope, each target's slope around it, helps. Levels are taken out of each size and target.
    names = [1, T * free_slopes, d * free_help]
    ends = np.cumsum(names)
    prior = np.r_[np.zeros(1), np.full(names[1], 1 / max(widths[0], 1e-9)), np.full(names[2], 1 / max(widths[1], 1e-9))]
    x = np.zeros(ends[-1])

    def slopes(x: Array) -> Array:
        return x[0] + (x[1 : ends[1]] if free_slopes else np.zeros(T))

    def predicted(x: Array) -> tuple[Array, Array]:
        """The losses without their levels, (m, T), and what the slope multiplies."""
        inner = base
        if free_help and rows.law is not None:
            inner = base + np.concatenate(
                [helped(rows.law, weights[group == k], x[ends[1] :] * at[group == k][0, 0]) for k in groups]
            )
        return np.exp(at * slopes(x)) * inner, inner

    def centred(values: Array) -> Array:
        values = values.copy()
        for k in groups:
            values[group == k] -= values[group == k].mean(axis=0)
        return values

    def cost(x: Array) -> float:
        return float((centred(losses - predicted(x)[0]) ** 2 / rows.noise**2).sum() + ((prior * x) ** 2).sum())

    best = cost(x)
    A = np.zeros((0, 0))
    for _ in range(STEPS):
        values, _ = predicted(x)
        grown = np.exp(at * slopes(x))
        J = np.zeros((m, T, ends[-1]))
        J[:, :, 0] = at * values
        if free_slopes:
            J[:, np.arange(T), 1 + np.arange(T)] = at * values
        if free_help and rows.law is not None:
            for k in groups:
                mine, s = group == k, at[group == k][0, 0]
                J[mine, :, ends[1] :] = (
                    s * grown[mine][:, :, None] * _help_slopes(rows.law, weights[mine], x[ends[1] :] * s)
                )
        J = centred(J) / rows.noise[None, :, None]
        r = centred(losses - values) / rows.noise
        flat = J.reshape(m * T, -1)
        A = flat.T @ flat + np.diag(prior**2) + 1e-9 * np.eye(ends[-1])
        step = np.linalg.solve(A, flat.T @ r.ravel() - prior**2 * x)
        size, moved = 1.0, x
        while size > 1e-3:
            moved = x + size * step
            if (now := cost(moved)) < best:
                break
            size /= 2
        else:
            break
        done = best - now < 1e-5 * best
        x, best = moved, now
        if done:
            break
    values, _ = predicted(x)
    level = np.zeros(T)
    of_each = np.array([at[group == k][0, 0] for k in groups])
    means = np.array([(losses - values)[group == k].mean(axis=0) for k in groups])
    level = (of_each[:, None] * np.log(np.maximum(means, 1e-9) / rows.middle)).sum(axis=0) / (of_each @ of_each)
    slope = slopes(x)
    help_ = x[ends[1] :] if free_help else np.zeros(d)
    turn = np.zeros((T + d, ends[-1]))
    turn[:T, 0] = 1.0
    if free_slopes:
        turn[:T, 1 : ends[1]] = np.eye(T)
    if free_help:
        turn[T:, ends[1] :] = np.eye(d)
    return _Fit(level, slope, help_, turn @ np.linalg.inv(A) @ turn.T)


@dataclass(frozen=True)
class _Held:
    """Held-out errors of one member with one choice of widths.

    Attributes:
        losses: squared error of each mixture's difference to its fold's mean, over the differences' variance, (m,).
        correlation: of these differences, predicted and measured.
        widths: see `SizeScore`.
    """

    losses: Array
    correlation: float
    widths: tuple[float, float]

    def error(self) -> float:
        return float(self.losses.mean())


def _held_out(rows: _Rows, partitions: Sequence[NDArray[np.int64]], widths: tuple[float, float]) -> _Held:
    """Errors of the objective's differences between mixtures that were left out together.

    Differences alone, because a level that is fitted without a mixture says nothing of its rank; and up to one common
    factor, which changes no rank either.
    """
    m = len(rows.group)
    predicted, actual = np.zeros((len(partitions), m)), np.zeros((len(partitions), m))
    for number, fold in enumerate(partitions):
        for k in np.unique(fold):
            held = fold == k
            fit = _fitted(rows, ~held, widths)
            at = rows.at[held][:, None]
            inner = rows.base[held] - rows.middle
            if fit.help.any() and rows.law is not None:
                for s in np.unique(at):
                    mine = at[:, 0] == s
                    inner[mine] += helped(rows.law, rows.weights[held][mine], fit.help * s)
            p, o = np.exp(at * fit.slope) * inner @ rows.share, rows.losses[held] @ rows.share
            for g in np.unique(rows.group[held]):
                mine = np.flatnonzero(held)[rows.group[held] == g]
                inside = rows.group[held] == g
                predicted[number, mine], actual[number, mine] = (
                    p[inside] - p[inside].mean(),
                    o[inside] - o[inside].mean(),
                )
    factor = float((predicted * actual).sum() / max((predicted**2).sum(), 1e-300))
    errors = (factor * predicted - actual) ** 2
    correlation = float((predicted * actual).sum() / max(np.sqrt((predicted**2).sum() * (actual**2).sum()), 1e-300))
    return _Held(errors.mean(axis=0) / max((actual**2).mean(), 1e-300), correlation, widths)


def _folds(group: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Folds at random, each with mixtures of every size; those of the same size are compared."""
    fold = np.empty(len(group), dtype=np.int64)
    for k in np.unique(group):
        mine = np.flatnonzero(group == k)
        fold[generator.permutation(mine)] = np.arange(len(mine)) % max(2, min(FOLDS, len(mine) // 2))
    return fold
