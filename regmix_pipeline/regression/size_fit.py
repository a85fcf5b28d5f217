"""Fit slopes of the targets' losses to runs of larger sizes, and judge them by runs that were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit_again
from regmix_pipeline.regression.sizes import SINGLE, SLOPES, ModelSize, SizeLaw, SizeRuns, SizeScore
from regmix_pipeline.study.settings.regression import RegressionSettings

FEWEST = 8
"""Mixtures of another size below which nothing is fitted."""
WIDTHS = (0.0, *np.geomspace(0.01, 0.3, 8).tolist())
"""Deviations of targets' slopes around their mean that are thought possible, for each unit of the logarithm of size. As
likely as not they are all alike (the first); the others are as likely as each other."""
BENT = 0.015
"""By how much a slope over the distance that was trained differs from that over the whole way, a standard deviation for
each unit of the logarithm of size: no runs nearby can tell. As large on synthetic worlds (`benchmarks/size_law.py`),
with twice the size or four times."""
SURE = 0.9
"""Probability that slopes differ from which they are used."""
SAME = 1e-6
"""Largest difference of a weight at which two mixtures are one."""
FOLDS, PARTITIONS = 4, 6
"""Folds of the other sizes' mixtures, and how often they are divided anew."""
DRAWS = 200
"""Laws drawn from what the runs leave open, for chances and intervals."""
OPEN_HELP = 0.006
"""Deviation of a domain's help for each unit of the logarithm of size: a few runs nearby cannot see it, and it parts
ranks of proxies from those of the large run. With this, chances are as often true as they say on synthetic worlds."""
LEAST = 0.05
"""Share of the base size's spread below which no spread is believed."""


def fit_sizes(
    fitted: FittedRegressor,
    base: ModelSize,
    others: Sequence[SizeRuns],
    target_weights: Mapping[str, float],
    seed: int = 0,
) -> SizeLaw | None:
    """Fit a slope for every target to runs of other sizes, shrunk towards their mean as far as the runs leave it open.

    How far slopes differ is not known beforehand: every width of `WIDTHS` counts as the runs make it likely. Slopes are
    used where it is likely by `SURE` that they differ, unless the objective's differences between larger runs that were
    left out are predicted worse with them, by more than the standard error. A mixture's loss at the base size may be
    known; of the larger runs left out nothing is.

    Args:
        fitted: the regressors of the base size.
        base: that size.
        others: runs of larger sizes, at least `FEWEST` mixtures together.
        target_weights: target -> weight in the objective, by whose differences slopes are judged.
        seed: of folds and draws.

    Returns:
        None where there are too few runs.
    """
    others = [each for each in others if each.size.over(base) > 0 and len(each.weights)]
    if sum(len(each.weights) for each in others) < FEWEST:
        return None
    rows, share = _Rows.of(fitted, base, others), fitted.shares(target_weights)
    generator = np.random.Generator(np.random.PCG64(seed))
    belief = _belief(*rows.slopes(np.ones(len(rows.at), dtype=bool)))
    scores = _scores(rows, share, [_folds(rows.at, generator) for _ in range(PARTITIONS)])
    used = SLOPES if belief.sure > SURE and scores[-1].gain > -scores[-1].gain_error else SINGLE
    slope = belief.slope if used == SLOPES else np.full(len(share), belief.slope.mean())
    help_ = OPEN_HELP * generator.standard_normal((DRAWS, fitted.weights.shape[1]))
    return SizeLaw(
        base,
        float(rows.at.max()),
        used,
        belief.sure,
        scores,
        rows.middle,
        rows.level(slope),
        slope,
        np.column_stack([belief.drawn(DRAWS, generator), help_]),
    )


def fit_moved(
    fitted: FittedRegressor,
    law: SizeLaw,
    size: ModelSize,
    settings: RegressionSettings,
    workers: int | None = None,
    standard_errors: Array | None = None,
    epochs_per_weight: Array | None = None,
    predict_at: Sequence[float] | Array | None = None,
    counted: Mapping[str, float] | None = None,
) -> FittedRegressor:
    """The chosen regressors fitted to the measured losses as they would be at another size.

    Args:
        fitted: the regressors of the base size.
        law: what moves with size.
        size: where the losses are moved to.
        settings, workers, standard_errors, epochs_per_weight, predict_at, counted: as for `fit`.
    """
    return fit_again(
        fitted,
        law.moved(fitted.losses, size),
        law.moved(fitted.out_of_fold, size),
        fitted.spread * law.scale(size),
        standard_errors,
        settings,
        workers,
        epochs_per_weight,
        predict_at,
        counted,
    )


@dataclass(frozen=True)
class _Rows:
    """The other sizes' runs, side by side.

    Attributes:
        at: logarithm of each row's size over the base, (m,).
        losses: (m, T). base: the same mixtures at the base size, (m, T).
        middle: (T,), mean prediction over the base size's mixtures.
    """

    at: Array
    losses: Array
    base: Array
    middle: Array

    @classmethod
    def of(cls, fitted: FittedRegressor, base: ModelSize, others: Sequence[SizeRuns]) -> _Rows:
        at = np.repeat([each.size.over(base) for each in others], [len(each.weights) for each in others])
        weights = np.concatenate([each.weights for each in others])
        losses = np.concatenate([each.losses for each in others])
        return cls(at, losses, _at_base(fitted, weights), fitted.predict(fitted.weights).mean(axis=0))

    def slopes(self, use: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Each target's slope by the rows in use, and its standard error, both (T,), for each unit of size."""
        found = []
        for s in np.unique(self.at[use]):
            mine = use & (self.at == s)
            if mine.sum() > 2:
                growth, error = _line(self.base[mine], self.losses[mine])
                found.append((s, np.log(np.maximum(growth, LEAST)), error / np.maximum(growth, LEAST)))
        # The least squares of a line through the origin, over sizes.
        precision = sum(s**2 / error**2 for s, _, error in found)
        slope = sum(s * growth / error**2 for s, growth, error in found) / precision
        return np.asarray(slope), np.asarray(precision) ** -0.5

    def level(self, slope: Array) -> Array:
        """Rates at which levels fall with these slopes, (T,)."""
        left = self.losses - np.exp(self.at[:, None] * slope) * (self.base - self.middle)
        sizes = np.unique(self.at)
        means = np.array([left[self.at == s].mean(axis=0) for s in sizes])
        return (sizes[:, None] * np.log(np.maximum(means, 1e-9) / self.middle)).sum(axis=0) / (sizes @ sizes)


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


def _line(x: Array, y: Array) -> tuple[Array, Array]:
    """Slopes of straight lines of y (m, T) on x (m, T), and their standard errors, (T,)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    squares = np.maximum((x * x).sum(axis=0), 1e-12)
    slope = (x * y).sum(axis=0) / squares
    left = np.sqrt(((y - slope * x) ** 2).sum(axis=0) / max(len(x) - 2, 1))
    # Rows are few: targets borrow from each other how far a run can be trusted.
    spread = np.maximum(y.std(axis=0), 1e-9)
    noise = np.sqrt((left**2 + np.mean((left / spread) ** 2) * spread**2) / 2) + 1e-6 * spread
    return slope, noise / np.sqrt(squares)


@dataclass(frozen=True)
class _Belief:
    """What is believed of the slopes over the whole way: a mixture of normal distributions, one for each width.

    Attributes:
        likely: probability of each of `WIDTHS`, (W,).
        centre: mean slope of all targets under each, (W,). centre_error: its standard error, (W,).
        kept: share of each target's distance to the mean slope that stays, (W, T).
        measured: the slopes as measured, (T,).
    """

    likely: Array
    centre: Array
    centre_error: Array
    kept: Array
    measured: Array

    @property
    def sure(self) -> float:
        """Probability that slopes differ."""
        return float(1 - self.likely[0])

    @property
    def slope(self) -> Array:
        """The mean, (T,)."""
        return self.likely @ (self.centre[:, None] + self.kept * (self.measured - self.centre[:, None]))

    def drawn(self, count: int, generator: np.random.Generator) -> Array:
        """Slopes as likely as they are believed, (count, T)."""
        row = generator.choice(len(self.likely), size=count, p=self.likely)
        centre = (self.centre[row] + self.centre_error[row] * generator.standard_normal(count))[:, None]
        open_ = np.array(WIDTHS)[row][:, None] * np.sqrt(1 - self.kept[row])
        around = centre + self.kept[row] * (self.measured - centre)
        return around + open_ * generator.standard_normal(around.shape)


def _belief(measured: Array, error: Array) -> _Belief:
    """What slopes (T,) measured with an error (T,) say, each width weighted by its marginal likelihood."""
    width = np.array(WIDTHS)[:, None]
    variance = width**2 + BENT**2 + error**2
    precision = (1 / variance).sum(axis=1)
    centre = (measured / variance).sum(axis=1) / precision
    misfit = (measured - centre[:, None]) ** 2 / variance
    likely = -0.5 * (np.log(variance).sum(axis=1) + misfit.sum(axis=1) + np.log(precision))
    prior = np.r_[0.5, np.full(len(WIDTHS) - 1, 0.5 / (len(WIDTHS) - 1))]
    likely = prior * np.exp(likely - likely.max())
    return _Belief(likely / likely.sum(), centre, precision**-0.5, width**2 / variance, measured)


def _scores(rows: _Rows, share: Array, partitions: Sequence[NDArray[np.int64]]) -> tuple[SizeScore, SizeScore]:
    """Errors of both laws in the objective's differences between mixtures that were left out together.

    Differences alone, because a level that is fitted without a mixture says nothing of its rank; and up to one common
    factor, which changes no rank either.
    """
    shape = (len(partitions), len(rows.at))
    single, slopes, actual = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    inner = rows.base - rows.middle
    for number, fold in enumerate(partitions):
        for k in np.unique(fold):
            slope = _belief(*rows.slopes(fold != k)).slope
            for s in np.unique(rows.at[fold == k]):
                mine = np.flatnonzero((fold == k) & (rows.at == s))
                for found, values in (
                    (single, inner[mine]),
                    (slopes, np.exp(s * slope) * inner[mine]),
                    (actual, rows.losses[mine]),
                ):
                    found[number, mine] = (values - values.mean(axis=0)) @ share
    errors, correlations = zip(*(_compared(each, actual) for each in (single, slopes)), strict=True)
    return (
        _score(SINGLE, correlations[0], errors[0], errors[0]),
        _score(SLOPES, correlations[1], errors[1], errors[0]),
    )


def _compared(predicted: Array, actual: Array) -> tuple[Array, float]:
    """Each mixture's squared error, over the variance, (m,), and the correlation; of (P, m)."""
    squares = float((predicted**2).sum())
    factor = float((predicted * actual).sum()) / max(squares, 1e-300)
    errors = ((factor * predicted - actual) ** 2).mean(axis=0) / max((actual**2).mean(), 1e-300)
    return errors, factor * np.sqrt(squares / max((actual**2).sum(), 1e-300))


def _score(law: str, correlation: float, errors: Array, single: Array) -> SizeScore:
    gain = single - errors
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return SizeScore(law, float(correlation), float(errors.mean()), float(gain.mean()), error)


def _folds(at: Array, generator: np.random.Generator) -> NDArray[np.int64]:
    """Folds at random, each with mixtures of every size; those of the same size are compared."""
    fold = np.empty(len(at), dtype=np.int64)
    for s in np.unique(at):
        mine = np.flatnonzero(at == s)
        fold[generator.permutation(mine)] = np.arange(len(mine)) % max(2, min(FOLDS, len(mine) // 2))
    return fold
