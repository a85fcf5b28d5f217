"""Fit losses to mixtures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.api.fitted import SEED, Fit, silent
from regmix_pipeline.api.tables import Table, runs_of, settings_of
from regmix_pipeline.errors import RegressionError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.progress import Say
from regmix_pipeline.regression.fitting import fit as fit_regressors
from regmix_pipeline.regression.outliers import outliers
from regmix_pipeline.study.settings.regression import RegressionSettings


def fit(
    weights: Table,
    losses: Table,
    *,
    domains: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    tokens: float | None = None,
    available_tokens: Mapping[str, float] | None = None,
    settings: RegressionSettings | Mapping[str, Any] | None = None,
    seed: int = SEED,
    workers: int | None = None,
    say: Say = silent,
) -> Fit:
    """Learn losses from mixtures: every regressor is cross-validated, and the best of each target kept.

    Args:
        weights: mixtures that runs were trained on: a frame of pandas or polars, a numpy array or a dictionary of
            columns, a row per run, (n, d). Rows sum to 1, or all to 100.
        losses: what they measured, nats per token: the same, a column per target, (n, T). Where either table has a
            column ``run`` or ``index``, or frames of pandas an index of their own, the two are joined by it; else row
            by row.
        domains: columns of weights to take, or names of an array's columns. Default: all.
        targets: the same of losses.
        tokens: tokens that each run was trained on; with ``available_tokens`` the regressors count repetition.
        available_tokens: domain -> tokens that these runs could draw.
        settings: which regressors compete and how one is chosen; a dictionary of `RegressionSettings`' fields does.
        seed: of folds and resampling; same input and seed, same result.
        workers: threads. Default: one per core.
        say: where progress goes, such as `print`.

    Raises:
        RegressionError: rows that do not sum to 1 or belong to no run, a value that is not a number, fewer than 8
            mixtures.

    >>> import numpy as np
    >>> generator = np.random.default_rng(0)
    >>> weights = generator.dirichlet([1, 1, 1], size=24)
    >>> losses = 3 + (weights - [0.6, 0.3, 0.1]) ** 2 @ [[1.0], [1.0], [1.0]]
    >>> fitted = fit(weights, losses, domains=["web", "code", "books"], targets=["science"],
    ...              settings={"regressors": ["saturation", "linear"], "bootstrap": 50})
    >>> fitted.predict({"web": 0.6, "code": 0.3, "books": 0.1}).mean.shape
    (1, 1)
    >>> best = fitted.optimise({"caps": {"web": 0.5}})
    >>> best.weights["web"] <= 0.5, best.low < best.predicted < best.high
    (True, True)
    """
    settings = settings_of(RegressionSettings, settings)
    runs, names, measured = runs_of(weights, losses, domains, targets)
    by_mixture: dict[Mixture, list[list[float]]] = defaultdict(list)
    for run in runs:
        by_mixture[run.mixture].append([run.losses[target] for target in measured])
    W = np.array([mixture.vector(names) for mixture in by_mixture])
    L = np.array([np.mean(rows, axis=0) for rows in by_mixture.values()])
    with threadpool_limits(1):  # many small problems
        far = outliers(W, L, measured, seed) if len(W) >= 2 else []
    left_out = far if settings.outliers == "leave_out" else []
    kept = [row for row in range(len(W)) if row not in {each.row for each in left_out}]
    rates = _rates(names, tokens, available_tokens)
    fitted = fit_regressors(W[kept], L[kept], None, names, measured, settings, seed, workers, say, rates, rates)
    notes = [
        f"a loss of {each.loss:.3f} on {each.target} is unlike the other runs and is left out: "
        f"{Mixture.at(names, W[each.row]).weights}"
        for each in left_out
    ]
    return Fit(fitted, settings, seed, None if tokens is None else int(tokens), notes)


def _rates(
    names: Sequence[str], tokens: float | None, available: Mapping[str, float] | None
) -> NDArray[np.float64] | None:
    """Epochs of each domain at weight 1, (d,); None where nothing is said of repetition."""
    if (tokens is None) != (available is None):
        raise RegressionError(
            "epochs follow from tokens and available_tokens, and one of them is missing",
            where="fit",
            remedy="give both or neither",
        )
    if tokens is None or available is None:
        return None
    wrong = [name for name in names if not float(available.get(name, 0)) > 0] + [
        name for name in available if name not in names
    ]
    if wrong:
        raise RegressionError(
            f"{wrong[0]!r} is no domain, or has no tokens", where="available_tokens", remedy=f"name each of {names}"
        )
    return tokens / np.array([float(available[name]) for name in names])
