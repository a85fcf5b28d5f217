"""Fit every regressor to a study's losses, score them on folds they never saw, and keep the best of each target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.regression.catalogue import REGRESSORS
from regmix_pipeline.regression.cross_validation import one_thread_each, out_of_fold
from regmix_pipeline.regression.fitted import FittedRegressor, columns_by
from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.metrics import scores_with_intervals
from regmix_pipeline.regression.settings import RegressionSettings
from regmix_pipeline.regression.validate import checked

Array = NDArray[np.float64]


def fit(
    weights: Array,
    losses: Array,
    standard_errors: Array | None,
    domains: Sequence[str],
    targets: Sequence[str],
    settings: RegressionSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    say: Say = to_stderr,
) -> FittedRegressor:
    """Fit, cross-validate and choose.

    Args:
        weights: mixtures the proxies were trained on, (n, d), rows summing to 1, n >= 8, d >= 2.
        losses: nats per token, (n, T), T >= 1.
        standard_errors: of the losses, (n, T), or None. Noisier rows weigh less.
        domains: names of the d columns.
        targets: names of the T columns.
        settings: which regressors, and how one is chosen.
        seed: of folds and resampling; same input and seed, same result.
        workers: threads; default one per core.
        say: where progress goes.

    Raises:
        RegressionError: the tables do not fit together, hold NaN, or too few or identical mixtures.
    """
    settings = settings or RegressionSettings()
    X, Y, errors = checked(weights, losses, standard_errors, domains, targets)
    workers = workers or os.cpu_count() or 1
    row_weight = _row_weight(Y, errors)
    fold = random_folds(len(X), settings.folds, seed)
    make = {name: REGRESSORS[name] for name in settings.regressors}
    held_out = out_of_fold(make, X, Y, row_weight, fold, workers, say)

    metric = "spearman" if settings.choose_by == "rank" else "rmse"
    scored = {name: scores_with_intervals(held_out[name], Y, settings.level, settings.bootstrap, seed) for name in make}
    names = list(make)
    table = np.array([scored[name][metric][0] * (1 if metric == "spearman" else -1) for name in names])
    chosen = [names[row] for row in table.argmax(axis=0)]
    models = {}
    with one_thread_each(workers) as pool:
        jobs = {
            name: (pool.submit(make[name]().fit, X, Y[:, columns], row_weight), columns)
            for name, columns in columns_by(chosen).items()
        }
        models = {name: (job.result(), columns) for name, (job, columns) in jobs.items()}
    best = np.column_stack([held_out[name][:, column] for column, name in enumerate(chosen)])
    return FittedRegressor(
        tuple(domains),
        tuple(targets),
        X,
        Y,
        dict(zip(targets, chosen, strict=True)),
        best,
        _rows(scored, targets, chosen),
        models,
    )


def _row_weight(Y: Array, errors: Array | None) -> Array:
    """One weight a row, (n,): the inverse of its mean error variance plus that of a regression good to 1 part in 100.

    Without the floor, rows measured with more windows would drown the others although the regressor's own error, the
    same for all rows, is what limits the fit.
    """
    if errors is None:
        return np.ones(len(Y))
    spread = np.maximum(Y.var(axis=0), 1e-12)
    noise = (errors**2 / spread).mean(axis=1)
    return 1 / (noise + 0.01)


def _rows(scored: dict[str, Any], targets: Sequence[str], chosen: Sequence[str]) -> list[dict[str, Any]]:
    """The scores as rows of the ledger's table."""
    return [
        {
            "regressor": name,
            "target": target,
            "split": "random",
            "metric": metric,
            "value": float(value[column]),
            "low": float(low[column]),
            "high": float(high[column]),
            "chosen": chosen[column] == name,
        }
        for name, metrics in scored.items()
        for metric, (value, low, high) in metrics.items()
        for column, target in enumerate(targets)
    ]
