"""Laws: loss = c + exp(u(weights)), fitted for all targets at once, with penalties chosen by inner cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from regmix_pipeline.regression.estimator import Array, Columns, MixtureRegressor
from regmix_pipeline.regression.laws.least_squares import Problems, jacobian, minimise, predictions

PINNED = np.inf
PREDICTED_AT_ONCE = 4096
"""Rows per block of predictions."""
SHRINKAGE_ROWS = 60
"""Rows at which a target's own inner error and the mean over targets count alike in the choice of a shape."""


@dataclass(frozen=True)
class Block:
    """A group of parameters of a law, with a Gaussian prior.

    Attributes:
        name: as in the law's formula.
        size: how many.
        mean: of the prior.
        width: standard deviation of the prior; infinite for none, 0 to pin the parameter to its mean.
    """

    name: str
    size: int
    mean: float
    width: float


@dataclass(frozen=True)
class Shape:
    """One way to fit a law, compared with others by inner cross-validation.

    Attributes:
        name: recorded with the fit.
        strength: noise variance as a share of the losses' variance that the priors are weighed against; the L2 penalty
            of a parameter is strength / (n width^2).
        widths: block -> width, where it differs from the law's own.
        means: block -> prior mean, where it differs.
    """

    name: str
    strength: float
    widths: dict[str, float]
    means: dict[str, float]


class Law(MixtureRegressor):
    """Base of the laws. Losses are fitted in standard units (mean 0, deviation 1).

    Subclasses define `blocks`, `shapes` and `exponent`, and may define `first_guess`. Blocks begin with the offset c
    and the level b.

    Args:
        inner_folds: folds by which a shape is chosen, of the rows given to `fit` alone.
        seed: of those folds.
    """

    def __init__(self, inner_folds: int = 4, seed: int = 0) -> None:
        self.inner_folds, self.seed = inner_folds, seed

    def blocks(self, d: int) -> list[Block]:
        raise NotImplementedError

    def shapes(self, rows: int) -> Sequence[Shape]:
        raise NotImplementedError

    def exponent(self, theta: Array, X: Array, with_jacobian: bool) -> tuple[Array, Array | None]:
        raise NotImplementedError

    def first_guess(self, theta: Array, X: Array, Y: Array) -> Array:
        """Improve starts (p, P) for losses (p, n) in standard units; by default the prior means are the start."""
        return theta

    def centre(self, share: Array, Y: Array) -> Array:
        """What is taken off the losses (n, T) before they are fitted, (T,): their mean, rows weighted by ``share``."""
        return share @ Y

    # ---- fitting

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        share = sample_weight / sample_weight.sum()
        level = self.centre(share, Y)
        spread = np.sqrt(share @ (Y - share @ Y) ** 2)
        scale = np.where(spread > 1e-12 * (1 + np.abs(level)), spread, 1.0)
        y = ((Y - level) / scale).T  # (T, n)
        shapes = list(self.shapes(len(X)))
        fits = self._fit_shapes(shapes, X, y, sample_weight)
        pick = np.zeros(len(y), dtype=int)
        if len(shapes) > 1:
            errors = np.log(self._errors(shapes, fits, X, y, sample_weight) + 1e-12)
            # With few rows one target's inner error is mostly luck, so targets borrow from each other.
            pick = (errors + SHRINKAGE_ROWS / len(X) * errors.mean(axis=1, keepdims=True)).argmin(axis=0)
        theta = fits[pick, np.arange(len(y))]
        constant = (spread <= 1e-12 * (1 + np.abs(level))) & (self.blocks(X.shape[1])[0].width > 0)
        theta[constant] = 0.0
        theta[constant, 1] = -60.0
        precision = np.stack([self._prior(shapes[k], X, y[[j]])[1][0] for j, k in enumerate(pick)])
        return {
            "theta": theta,
            "level": level,
            "scale": scale,
            "rows": len(X),
            "shapes": [shapes[k].name for k in pick],
            "penalty": np.where(np.isfinite(precision), precision, 0.0),
            "free": np.isfinite(precision).astype(float),
        }

    def _prior(self, shape: Shape, X: Array, y: Array) -> tuple[Array, Array]:
        """Prior means and precisions, each (T, P). The offset's mean is half a range below the lowest loss seen."""
        blocks = self.blocks(X.shape[1])
        mean = np.concatenate([np.full(block.size, shape.means.get(block.name, block.mean)) for block in blocks])
        width = np.concatenate([np.full(block.size, shape.widths.get(block.name, block.width)) for block in blocks])
        with np.errstate(divide="ignore"):
            precision = np.where(width > 0, shape.strength / (len(X) * width**2), PINNED)
        means = np.tile(mean, (len(y), 1))
        if width[0] > 0:
            means[:, 0] += y.min(axis=1) - 0.5 * np.ptp(y, axis=1)
        return means, np.tile(precision, (len(y), 1))

    def _fit_shapes(self, shapes: list[Shape], X: Array, y: Array, weight: Array) -> Array:
        """Parameters of every shape and target on all rows, (shapes, T, P).

        The first shape starts from several offsets; the others start from its best fit and from their own prior.
        """
        T = len(y)
        found: list[Array] = []
        for shape in shapes:
            mean, precision = self._prior(shape, X, y)
            starts = []
            for below in (0.15, 0.8) if not found else (0.3,):
                start = mean.copy()
                start[:, 0] = y.min(axis=1) - below * np.ptp(y, axis=1)
                starts.append(self.first_guess(start, X, y))
            if found:
                starts.append(found[0].copy())
            repeat = len(starts)
            problems = Problems(
                np.tile(y, (repeat, 1)),
                np.tile(weight, (repeat * T, 1)),
                np.tile(mean, (repeat, 1)),
                np.tile(precision, (repeat, 1)),
            )
            theta, objective = minimise(self.exponent, np.concatenate(starts), X, problems)
            best = objective.reshape(repeat, T).argmin(axis=0)
            found.append(theta.reshape(repeat, T, -1)[best, np.arange(T)])
        return np.stack(found)

    def _errors(self, shapes: list[Shape], fits: Array, X: Array, y: Array, weight: Array) -> Array:
        """Mean squared error of each shape on inner folds, (shapes, T). Fold fits start from the fit on all rows."""
        n, T = len(X), len(y)
        count = max(2, min(self.inner_folds, n // 2))
        fold = np.random.Generator(np.random.PCG64(self.seed)).permutation(n) % count
        masks = np.stack([(fold != k) * weight * count / (count - 1) for k in range(count)])  # (K, n)
        errors = np.empty((len(shapes), T))
        for row, shape in enumerate(shapes):
            mean, precision = self._prior(shape, X, y)
            problems = Problems(
                np.tile(y, (count, 1)),
                np.repeat(masks, T, axis=0),
                np.tile(mean, (count, 1)),
                np.tile(precision, (count, 1)),
            )
            theta, _ = minimise(self.exponent, np.tile(fits[row], (count, 1)), X, problems, 15, 1e-3)
            held = (fold[None, :] == np.arange(count)[:, None])[:, None, :] * weight  # (K, 1, n)
            residual = predictions(self.exponent, theta, X).reshape(count, T, n) - y
            errors[row] = (held * residual**2).sum(axis=(0, 2)) / weight.sum()
        return errors

    def refitted(self, X: Array, Y: Array, sample_weight: Array, columns: Columns) -> Self:
        """A law of some targets alone, of the same rows with other weights, sought from this one's parameters and in
        its shapes: tens of times cheaper than `fit`, which tries every shape from several starts.

        Args:
            X: the weights that this law was fitted to, (n, d).
            Y: their losses of all its targets, (n, T).
            sample_weight: relative weight of each row, (n,).
            columns: the targets, places of their columns in Y.
        """
        known = {name: value[columns] for name, value in self.learned_.items() if isinstance(value, np.ndarray)}
        names = [self.learned_["shapes"][j] for j in columns]
        y = ((Y[:, columns] - known["level"]) / known["scale"]).T
        shapes = {shape.name: shape for shape in self.shapes(len(X))}
        priors = [self._prior(shapes[name], X, y[[j]]) for j, name in enumerate(names)]
        mean, precision = (np.concatenate(each) for each in zip(*priors, strict=True))
        weight = np.tile(sample_weight / sample_weight.mean(), (len(y), 1))
        theta, _ = minimise(self.exponent, known["theta"], X, Problems(y, weight, mean, precision), 15, 1e-3)
        other = copy(self)
        other.targets_, other.learned_ = len(columns), self.learned_ | known | {"theta": theta, "shapes": names}
        return other

    # ---- using the fit

    def _predict(self, X: Array, columns: Columns) -> Array:
        known = self.learned_
        predicted = np.empty((len(X), len(columns)))
        for first in range(0, len(X), PREDICTED_AT_ONCE):  # blocks that stay in the processor's cache
            rows = slice(first, first + PREDICTED_AT_ONCE)
            predicted[rows] = predictions(self.exponent, known["theta"][columns], X[rows]).T
        return known["level"][columns] + known["scale"][columns] * predicted

    def tangent(self, X: Array, target: int) -> Array:
        """Derivatives of one target's prediction by the free parameters, each times its prior's width, (m, P_free).

        What a linear regression on these columns can add is what small changes of the parameters can; a Gaussian
        process uses them to carry the law's own uncertainty.
        """
        known = self.learned_
        _, J = jacobian(self.exponent, known["theta"][[target]], X)
        free = known["free"][target] > 0
        loose = np.maximum(known["penalty"][target][free], 1e-7)
        return known["scale"][target] * J[0][:, free] / np.sqrt(loose)
