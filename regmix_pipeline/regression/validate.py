"""Refuse tables that cannot be regressed, naming row, target and remedy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError

Array = NDArray[np.float64]
FEWEST_ROWS = 8


def checked(
    weights: Array, losses: Array, standard_errors: Array | None, domains: Sequence[str], targets: Sequence[str]
) -> tuple[Array, Array, Array | None]:
    """The three tables as float64 arrays of matching shapes, or RegressionError."""
    try:
        weights, losses = np.asarray(weights, dtype=np.float64), np.asarray(losses, dtype=np.float64)
        errors = None if standard_errors is None else np.asarray(standard_errors, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise RegressionError(f"weights and losses must be numbers: {problem}", remedy="check the tables") from problem
    for names, kind in ((domains, "domain"), (targets, "target")):
        if len(set(names)) != len(names):
            raise RegressionError(f"a {kind} is listed twice", where=f"{kind}s", remedy="give each its own name")
    n = len(weights)
    if weights.shape != (n, len(domains)) or len(domains) < 2:
        raise RegressionError(
            f"weights have shape {weights.shape}, domains are {len(domains)}",
            where="weights",
            remedy="give one row per mixture and one column per domain, at least two domains",
        )
    if losses.shape != (n, len(targets)) or not targets:
        raise RegressionError(
            f"losses have shape {losses.shape}, not ({n}, {len(targets)})",
            where="losses",
            remedy="give one row per mixture and one column per target, at least one target",
        )
    if n < FEWEST_ROWS:
        raise RegressionError(
            f"{n} mixtures have losses, {FEWEST_ROWS} are needed", where="losses", remedy="train more proxies"
        )
    _finite(weights, "weights", domains)
    _finite(losses, "losses", targets)
    if (weights < 0).any() or (abs(weights.sum(axis=1) - 1) > 0.02).any():
        row = int(np.flatnonzero((weights < 0).any(axis=1) | (abs(weights.sum(axis=1) - 1) > 0.02))[0])
        raise RegressionError(
            f"weights are negative or sum to {weights[row].sum():.4g}", where=f"weights, row {row}", remedy="normalise"
        )
    if len(np.unique(weights, axis=0)) < 2:
        raise RegressionError(
            "all mixtures are the same", where="weights", remedy="train proxies on different mixtures"
        )
    if errors is not None:
        if errors.shape != losses.shape:
            raise RegressionError(
                f"standard errors have shape {errors.shape}, losses {losses.shape}",
                where="standard_errors",
                remedy="give one standard error per loss",
            )
        _finite(errors, "standard_errors", targets)
        if (errors < 0).any():
            raise RegressionError("a standard error is negative", where="standard_errors", remedy="give its size")
    return weights, losses, errors


def _finite(table: Array, name: str, columns: Sequence[str]) -> None:
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        row, column = bad[0]
        raise RegressionError(
            f"{table[row, column]} is not a number",
            where=f"{name}, row {row}, {columns[column]}",
            remedy="measure it again",
        )
