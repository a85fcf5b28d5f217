"""Runs whose losses their mixtures cannot explain: a training that diverged, or a figure of another run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.laws.saturation import SaturationLaw

Array = NDArray[np.float64]
FAR = 1.5
"""Times the distance from the tenth to the ninetieth percentile that a loss, or its logarithm, must lie beyond one."""
DEVIATIONS = 8.0
"""Robust standard deviations of the law's errors on other runs by which the law must miss it."""
HIGHEST, BEYOND = 0.1, 5.0
"""Share of the other runs with the highest losses, and times the error of a law that did not see them by which a run
without near neighbours must be missed, or by all that the others differ by: so far do laws err there."""
MOST = 0.1
"""Share of the runs that may be outliers. More are not outliers but the data."""
FOLDS = 5


@dataclass(frozen=True)
class Outlier:
    """A loss that is far from all others, and from what a law of the others predicts.

    Attributes:
        row: the run.
        target: the target.
        loss: what was measured, nats per token.
        predicted: what a law of the other runs predicts.
    """

    row: int
    target: str
    loss: float
    predicted: float

    def as_json(self, mixture: str, runs: Sequence[str]) -> dict[str, Any]:
        """What is kept of it, with the names of its mixture and runs."""
        return {
            "mixture": mixture,
            "runs": list(runs),
            **{name: value for name, value in asdict(self).items() if name != "row"},
        }


def outliers(weights: Array, losses: Array, targets: Sequence[str], seed: int = 0) -> list[Outlier]:
    """The outliers among runs, at most one for each run: of the target on which it is farthest off.

    A loss counts only when both hold: it lies far beyond nearly all others, and a law of those misses it by far more
    than it misses the others; where no run is near, by far more than it misses the highest of them when it has not seen
    them. A run with none of a domain may have a far higher loss on that domain's own text, which the law explains; and
    where most runs lie near the optimum, the law is theirs and errs in the corners. Far losses that a law explains are
    added to the runs that it is fitted to, until none is left or none is explained, since corners explain each other (a
    forward search, Atkinson & Riani 2000).

    Args:
        weights: (n, d), rows summing to 1.
        losses: nats per token, (n, T).
        targets: names of the T columns.
        seed: of the folds.

    >>> generator = np.random.default_rng(1)
    >>> weights = generator.dirichlet(np.ones(3), size=24)
    >>> losses = (3 + 2 * np.exp(-3 * weights[:, :1])) + generator.normal(scale=0.01, size=(24, 1))
    >>> outliers(weights, losses, ["science"])
    []
    >>> losses[7] = 12
    >>> [(found.row, found.loss) for found in outliers(weights, losses, ["science"])]
    [(7, 12.0)]
    """
    found: dict[int, tuple[float, Outlier]] = {}
    for column, target in enumerate(targets):
        own = losses[:, column]
        low, high = np.quantile(own, [0.1, 0.9])
        far = _far(own) | _far(np.log(np.maximum(own, 1e-9)))
        if (~far).sum() < 2 * FOLDS:
            continue
        while far.any():
            scale, beyond, predicted = _law_of_the_others(weights, own, far, seed)
            # On the side where it is far: a law may well expect more than there is beyond the runs it saw.
            missed = (own - predicted) * np.where(own > high, 1, -1)
            allowed = np.where(_remote(weights, far), min(BEYOND * beyond, np.ptp(own[~far])), 0.0)
            unexplained = far & (missed > np.maximum(allowed, max(DEVIATIONS * scale, 0.5 * (high - low))))
            if (unexplained == far).all():
                break
            far = unexplained  # those explained teach the law about the others
        for row in map(int, np.flatnonzero(far) if far.sum() <= MOST * len(own) else ()):
            if missed[row] / scale > found.get(row, (0.0,))[0]:
                found[row] = missed[row] / scale, Outlier(row, target, float(own[row]), float(predicted[row]))
    return [found[row][1] for row in sorted(found)]


def _far(values: Array) -> NDArray[np.bool_]:
    low, high = np.quantile(values, [0.1, 0.9])
    return (values > high + FAR * (high - low)) | (values < low - FAR * (high - low))


def _remote(weights: Array, far: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mixtures farther from the nearest run that is not far than half of those are from each other, (n,)."""
    overlap = np.sqrt(weights) @ np.sqrt(weights[~far]).T
    overlap[~far] -= 2 * np.eye(overlap.shape[1])  # no run is its own neighbour
    nearest = overlap.max(axis=1)
    return nearest < np.median(nearest[~far])


def _law_of_the_others(weights: Array, losses: Array, far: NDArray[np.bool_], seed: int) -> tuple[float, float, Array]:
    """Of a law of the runs that are not far: the robust standard deviation of its errors on runs that it did not see,
    the root mean square of its errors on the runs of highest loss when it sees only the others, and what it predicts
    for all runs, (n,)."""
    rows = np.flatnonzero(~far)
    fold, errors = random_folds(len(rows), FOLDS, seed), []
    for number in range(FOLDS):
        errors.append(_errors(weights, losses, rows[fold != number], rows[fold == number]))
    order = rows[np.argsort(losses[rows], kind="stable")]
    count = max(3, round(HIGHEST * len(rows)))
    beyond = _errors(weights, losses, order[:-count], order[-count:])
    law = SaturationLaw().fit(weights[rows], losses[rows, None])
    scale = 1.4826 * float(np.median(np.abs(np.concatenate(errors))))
    return max(scale, 1e-9), float(np.sqrt(np.mean(beyond**2))), law.predict(weights)[:, 0]


def _errors(weights: Array, losses: Array, seen: NDArray[np.int64], held: NDArray[np.int64]) -> Array:
    return losses[held] - SaturationLaw().fit(weights[seen], losses[seen, None]).predict(weights[held])[:, 0]
