"""Does a choice survive the jump to the large run's size? How likely it beats another mixture there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.sizes import ModelSize, SizeLaw

ERRORS = 50
"""Errors of the proxies' regressors drawn for each draw of slopes and helps."""


def survival(
    fitted: FittedRegressor,
    law: SizeLaw,
    target: ModelSize,
    chosen: Array,
    rivals: Mapping[str, Array],
    target_weights: Mapping[str, float],
    level: float = 0.9,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How likely the chosen mixture has a lower objective than each rival at the target's size.

    Two things are open: what the regressors miss at the proxies' size (the Gaussian process's joint posterior, as much
    wider as its errors out of fold ask, which seeds are part of), and slopes and helps that move with size. What a
    search overstates is one of the regressors' errors, so it is not taken off once more.

    Args:
        fitted: the regressors of the proxies' size.
        law: what moves with size.
        target: the size that is asked about.
        chosen: the mixture, (d,).
        rivals: name -> another mixture, (d,).
        target_weights: target -> weight in the objective.
        level: coverage of the gain's interval.
        seed: of the draws.

    Returns:
        Rows with rival, chance, gain (mean, nats per token at the target's size), low, high; open_in_size and
        open_in_proxies, the deviations of the gain that what moves with size and the regressors leave open.
    """
    points = np.array([chosen, *rivals.values()])
    share, generator = fitted.shares(target_weights), np.random.Generator(np.random.PCG64(seed))
    by_law = law.differences(fitted, target, points, target_weights)  # (B, m), of others minus chosen
    at_base = fitted.objective(points, target_weights)
    grown = law.growth(fitted, target, target_weights)
    found = []
    for row, name in enumerate(rivals, start=1):
        error = _error(fitted, points[[0, row]], share) * grown
        drawn = by_law[:, [row]] + error * generator.standard_normal((len(by_law), ERRORS))
        same = bool((points[row] == points[0]).all()) or at_base[row] == at_base[0]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        found.append(
            {
                "rival": name,
                "chance": 0.5 if same else float((drawn > 0).mean()),
                "gain": float(drawn.mean()),
                "low": float(low),
                "high": float(high),
                "open_in_size": float(by_law[:, row].std()),
                "open_in_proxies": error,
            }
        )
    return found


def runner_up(
    fitted: FittedRegressor, chosen: Array, target_weights: Mapping[str, float], allowed: NDArray[np.bool_]
) -> Array:
    """Of the mixtures that proxies measured and limits allow, the best predicted one besides the chosen, (d,)."""
    others = fitted.weights[allowed]
    others = others[np.abs(others - chosen).max(axis=1) > 1e-6] if len(others) else others
    return others[int(fitted.objective(others, target_weights).argmin())] if len(others) else chosen


def _error(fitted: FittedRegressor, pair: Array, share: Array) -> float:
    """Deviation of the regressors' error in the difference of two mixtures' objective, nats per token."""
    process = fitted.process
    if process is None:
        return float(np.std((fitted.losses - fitted.out_of_fold) @ share)) * 2**0.5
    covariance = process.joint_posterior(pair, share).covariance
    within = max(float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]), 0.0) ** 0.5
    weights = dict(zip(fitted.targets, share.tolist(), strict=True))
    wider = float(np.sqrt(np.mean(fitted.objective_errors(weights) ** 2)))
    return within * max(wider, 1.0)
