"""What a decision's evidence predicts of any mixture, each number with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.mixtures.limits import ROUNDED
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.search.region import above_sampled, distance_to_nearest, usual_distance

Array = NDArray[np.float64]
LEVEL = 0.9
"""Probability that an interval holds."""
OBJECTIVE = "objective"


@dataclass(frozen=True)
class PredictedLoss:
    """A predicted loss, nats per token of a proxy.

    Attributes:
        predicted: by the regressors that were chosen for it.
        low, high: where the measured loss of one proxy would fall with the probability that was asked for.
        standard_error: of the mean loss of such proxies.
    """

    predicted: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Predicted:
    """What is known of a mixture that need not have been trained.

    Attributes:
        weights: domain -> weight, summing to 1.
        objective: weighted mean of the targets' losses.
        targets: target -> loss.
        against_natural: predicted objective minus that of the natural mixture, nats per token; negative is better.
        against_natural_error: its standard error.
        distance: Hellinger distance to the nearest mixture that was measured, in [0, 1].
        usual_distance: how far measured mixtures usually are from their nearest neighbour.
        extrapolates: whether it lies further away than is usual, or above the highest weight that was measured.
        allowed: whether the decision's limits and guardrails allow it.
    """

    weights: dict[str, float]
    objective: PredictedLoss
    targets: dict[str, PredictedLoss]
    against_natural: float
    against_natural_error: float
    distance: float
    usual_distance: float
    extrapolates: bool
    allowed: bool


def predict(evidence: Evidence, mixtures: Sequence[Mixture], level: float = LEVEL) -> list[Predicted]:
    """Predictions for mixtures of the evidence's domains.

    Args:
        evidence: of a decision.
        mixtures: m of them.
        level: coverage of the intervals, between 0 and 1.

    Raises:
        MixtureError: a mixture draws on a domain that the evidence does not have.
    """
    fitted, share = evidence.fitted, evidence.fitted.shares(evidence.target_weights)
    points = np.array([mixture.vector(evidence.domains) for mixture in mixtures]).reshape(-1, len(evidence.domains))
    with threadpool_limits(1):
        mean, (low, high) = fitted.predict(points), fitted.interval(points, level)
        total = fitted.objective(points, evidence.target_weights)
        least, most = fitted.objective_interval(points, evidence.target_weights, level)
        deviation = fitted.standard_deviation(points, of_measurement=False)
        apart, apart_error = _against_natural(evidence, points)
    errors = np.std((fitted.losses - fitted.out_of_fold) / fitted.spread, axis=0) * deviation
    total_error = np.std(fitted.objective_errors(evidence.target_weights)) * (deviation @ share)
    distance, usual = distance_to_nearest(points, fitted.weights), usual_distance(fitted.weights)
    beyond = np.any(above_sampled(points, fitted.weights), axis=1)
    allowed = evidence.region.allow(points, ROUNDED) & evidence.objective.keeps(points)
    return [
        Predicted(
            dict(mixture.weights),
            _loss(total[row], least[row], most[row], total_error[row]),
            {
                name: _loss(mean[row, at], low[row, at], high[row, at], errors[row, at])
                for at, name in enumerate(fitted.targets)
            },
            float(apart[row]),
            float(apart_error[row]),
            float(distance[row]),
            usual,
            bool(distance[row] > usual or beyond[row]),
            bool(allowed[row]),
        )
        for row, mixture in enumerate(mixtures)
    ]


def _loss(*values: Any) -> PredictedLoss:
    return PredictedLoss(*(float(value) for value in values))


def _against_natural(evidence: Evidence, points: Array) -> tuple[Array, Array]:
    """The objective minus the natural mixture's and the standard error of that difference, (m,) each.

    The Gaussian process knows how far errors of neighbours are alike; without one they count as independent. Errors of
    different targets count as equal in sign, so that the standard error is no smaller than the true one.
    """
    fitted, targets = evidence.fitted, evidence.target_weights
    share = fitted.shares(targets)
    natural = evidence.references["natural"].vector(evidence.domains)
    both = np.concatenate([natural[None], points])
    value, scale = fitted.objective(both, targets), float(np.std(fitted.objective_errors(targets)))
    if fitted.process is None:
        deviation = fitted.standard_deviation(both, of_measurement=False) @ share
        error = np.where((points == natural).all(axis=1), 0.0, np.hypot(deviation[1:], deviation[0]))
        return value[1:] - value[0], scale * error
    error = np.zeros(len(points))
    for column in np.flatnonzero(share):
        covariance = fitted.process.joint_posterior(both, np.eye(len(share))[column]).covariance
        variance = np.diag(covariance)[1:] + covariance[0, 0] - 2 * covariance[1:, 0]
        error += share[column] * np.sqrt(np.maximum(variance, 0.0))
    return value[1:] - value[0], scale * error
