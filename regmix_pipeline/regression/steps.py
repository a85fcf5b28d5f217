"""Step laws: a proxy's final loss from its losses along the way, and how far each law can be trusted.

A law that ranks finished proxies from half of their steps would let the other half be saved. Three contend:

- ``power``: each run's own L(s) = E + B s^-beta, the innermost of the nested scaling laws of Data Mixing Laws (Ye et
  al., arXiv 2403.16952, section 4). Nothing is learned from other runs. It has no notion of a learning rate that
  decays.
- ``bimix``: one law a target for all runs in its own domain's proportion and the step (Ge et al., arXiv 2405.14908),
  fitted to the other mixtures. It exists only for targets that are also domains, and sees nothing of the run itself.
- ``linear``: final loss = a + b x loss at the step, learned on the other mixtures' finished runs, whatever the
  schedule of learning rates.

Losses along the way are measured on a small sample of windows, final ones on a larger one. The difference is the same
for all runs: it does not touch ranks, and is part of the error of `power` and `bimix`, which know no final loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.laws.bimix import BiMixLaw
from regmix_pipeline.regression.metrics import scores_with_intervals

Array = NDArray[np.float64]
POWERS = np.geomspace(0.01, 3.0, 240)
"""Powers of the step tried; given the power, the rest of the law is linear."""
FEWEST_RUNS = 8
FEWEST_STEPS = 3
"""A power law in the step has three parameters."""


@dataclass(frozen=True)
class Curves:
    """Losses of runs on one target, measured at the same steps.

    Attributes:
        target: name of the target.
        own: column of the target's own domain in `weights`, None where it is not a domain.
        weights: mixtures of the runs, (n, d).
        steps: optimiser steps, increasing, (S,).
        losses: at those steps, nats per token, (n, S).
        final: measured on the finished runs, nats per token, (n,).
        final_step: steps of a finished run.
    """

    target: str
    own: int | None
    weights: Array
    steps: Array
    losses: Array
    final: Array
    final_step: float


def step_law_rows(
    curves: Sequence[Curves], folds: int, level: float, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """How well each law predicts final losses from the steps so far: one row a law, target and number of steps.

    What is learned from other runs is learned without the mixture it is scored on.

    Args:
        curves: of each target; one with fewer than `FEWEST_RUNS` runs is left out.
        folds: of the mixtures.
        level: coverage of the scores' bootstrap intervals over mixtures.
        resamples: of the bootstrap.
        seed: of folds and bootstrap.

    Returns:
        rows with law, target, fitted_until_step, share_of_steps, mixtures, spearman, spearman_low, spearman_high, rmse,
        rmse_low, rmse_high, and deviation (of the final losses: the error of predicting their mean).
    """
    rows = []
    for curve in curves:
        n = len(curve.final)
        if n < FEWEST_RUNS:
            continue
        fold = random_folds(n, folds, seed)
        for count in range(1, len(curve.steps) + 1):
            for law, predicted in extrapolated(curve, count, fold).items():
                found = scores_with_intervals(predicted[:, None], curve.final[:, None], level, resamples, seed)
                scores = {
                    f"{metric}{end}": float(part[0])
                    for metric in ("spearman", "rmse")
                    for end, part in zip(("", "_low", "_high"), found[metric], strict=True)
                }
                step = curve.steps[count - 1]
                rows.append(
                    {
                        "law": law,
                        "target": curve.target,
                        "fitted_until_step": int(step),
                        "share_of_steps": float(step / curve.final_step),
                        "mixtures": n,
                        **scores,
                        "deviation": float(curve.final.std()),
                    }
                )
    return rows


def extrapolated(curve: Curves, count: int, fold: NDArray[np.int64]) -> dict[str, Array]:
    """Law -> final losses (n,) extrapolated from the first ``count`` measurements; laws that need more are left out."""
    found = {"linear": _linear(curve.losses[:, count - 1], curve.final, fold)}
    if count >= FEWEST_STEPS:
        found["power"] = power_law(curve.steps[:count], curve.losses[:, :count], curve.final_step)
        if curve.own is not None:
            found["bimix"] = _bimix(curve, count, fold)
    return found


def power_law(steps: Array, losses: Array, at: float) -> Array:
    """L(at) of each run's least-squares L(s) = E + B s^-beta with E and B not negative, (n,).

    For a given beta the law is a straight line in s^-beta, so all runs are solved at once on a grid of beta.

    Args:
        steps: (S,), S >= 3.
        losses: (n, S), nats per token.
        at: step to predict.
    """
    x = (steps[None] / at) ** -POWERS[:, None]  # (b, S); 1 at the step asked for
    centred = x - x.mean(axis=1, keepdims=True)
    mean = losses.mean(axis=1, keepdims=True)
    fall = np.maximum((losses - mean) @ centred.T / (centred**2).sum(axis=1), 0.0)  # (n, b)
    floor = mean - fall * x.mean(axis=1)
    through_zero = losses @ x.T / (x**2).sum(axis=1)
    fall, floor = np.where(floor < 0, through_zero, fall), np.maximum(floor, 0.0)
    error = ((floor[:, :, None] + fall[:, :, None] * x[None] - losses[:, None]) ** 2).sum(axis=2)
    best = error.argmin(axis=1)
    row = np.arange(len(losses))
    return floor[row, best] + fall[row, best]


def _linear(seen: Array, final: Array, fold: NDArray[np.int64]) -> Array:
    """Final losses (n,) by least squares on the losses seen, each fold by the line of the others."""
    predicted = np.empty_like(final)
    for k in np.unique(fold):
        rest, held = fold != k, fold == k
        centre = seen[rest].mean()
        spread = ((seen[rest] - centre) ** 2).sum()
        slope = ((seen[rest] - centre) @ final[rest]) / spread if spread > 1e-18 else 0.0
        predicted[held] = final[rest].mean() + slope * (seen[held] - centre)
    return predicted


def _bimix(curve: Curves, count: int, fold: NDArray[np.int64]) -> Array:
    """Final losses (n,) by BiMix's law of the other folds' mixtures up to the ``count``-th step."""
    assert curve.own is not None
    n = len(curve.final)
    share = curve.weights[:, curve.own]
    rows = np.column_stack([np.repeat(share, count), np.tile(curve.steps[:count], n)])
    ahead = np.column_stack([share, np.full(n, curve.final_step)])
    found = BiMixLaw(own=0).left_out(rows, curve.losses[:, :count].ravel(), np.repeat(fold, count), ahead)
    return found[fold, np.arange(n)]
