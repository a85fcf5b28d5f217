"""Fit every regressor to a study's losses, score them on folds they never saw, and keep the best of each target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.regression.blend import blend_weights, cross_fitted, one_hot
from regmix_pipeline.regression.catalogue import (
    EPOCH_PROCESS,
    EPOCHS,
    LAWS,
    NGRAM_PROCESS,
    NGRAMS,
    PROCESS,
    REPEATED,
    STACK,
    regressor,
)
from regmix_pipeline.regression.choice import HeldOut, choose, score_rows, tie_factor
from regmix_pipeline.regression.cross_validation import Make, fit_group, groups_of, one_thread_each, out_of_fold
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.folds import random_folds, region_folds
from regmix_pipeline.regression.intervals import coverage_rows
from regmix_pipeline.regression.metrics import rmse
from regmix_pipeline.regression.search_weights import search_weights
from regmix_pipeline.regression.trust import trust, trusted
from regmix_pipeline.regression.validate import checked
from regmix_pipeline.study.settings.regression import RegressionSettings

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
    epochs_per_weight: Sequence[float] | Array | None = None,
    predict_at: Sequence[float] | Array | None = None,
    evidence: NgramEvidence | None = None,
    counted: Mapping[str, float] | None = None,
    law_share: float = 0.0,
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
        epochs_per_weight: how often a run sees each domain's tokens at weight 1, the same for all rows, (d,), or row by
            row, (n, d). Where a run saw any domain more than once, regressors of what repeated data are worth compete
            as well.
        predict_at: the rates of the runs that predictions are for, (d,); default the mean of the rows'. A mixture is
            thus judged, by a search too, as a proxy that repeats at these rates: as the large run would only where the
            proxies were made to.
        evidence: losses that n-gram counts predict. The regressors of them compete where they are trusted on every
            target with weight; see `regression.trust`.
        counted: target -> weight, of the targets that they must be trusted on; default all of them.
        law_share: of the pure law in what a search minimises; see `RegressionSettings.law_share_for`.

    Raises:
        RegressionError: the tables do not fit together, hold NaN, or too few or identical mixtures.
    """
    settings = settings or RegressionSettings()
    X, Y, errors = checked(weights, losses, standard_errors, domains, targets)
    workers = workers or os.cpu_count() or 1
    row_weight = _row_weight(Y, errors)
    rates = _rates(X, epochs_per_weight)
    at = _rates_predicted(X, rates, predict_at)
    known = None if evidence is None or not settings.counts_ngrams else evidence.over(domains, targets)
    found = [] if known is None else trust(X, Y, known, settings.trust, at, seed)
    relied = known if trusted(found, counted) else None
    plain: Make = {name: partial(regressor, name) for name in settings.regressors if name not in (STACK, *NGRAMS)}
    if relied is not None:
        asked = [name for name in settings.regressors if name in NGRAMS]
        plain = {**plain, **{name: partial(regressor, name, at, relied) for name in asked}}
    make = {**plain, **_on_repeated_data(X, rates, at, settings.repetition)}

    fold = random_folds(len(X), settings.folds, seed)
    predicted, spread = out_of_fold(make, X, Y, row_weight, fold, workers, say, rates=rates)
    splits = [HeldOut("random", fold, predicted)]
    regions = region_folds(X) if settings.extrapolation != "off" else None
    if regions is not None:
        beyond, _ = out_of_fold(make, X, Y, row_weight, regions, workers, say, "regions", rates)
        splits.append(HeldOut("region", regions, beyond))
    stack = blend_weights(predicted, Y)
    if STACK in settings.regressors:
        splits = [
            HeldOut(s.split, s.fold, {**s.predicted, STACK: cross_fitted(s.predicted, Y, s.fold)}) for s in splits
        ]
    judged = splits if settings.extrapolation == "weigh" else splits[:1]
    picks = {by: choose(judged, Y, by) for by in ("rank", "calibration")}
    chosen = picks[settings.choose_by]

    names = list(make)
    blend = np.where(np.array(chosen) == STACK, stack, one_hot(names, chosen))
    stacked = stack if STACK in settings.regressors else np.zeros_like(stack)
    process = _best_process(predicted, Y, targets, counted)
    wanted = {name for row, name in enumerate(names) if (blend + stacked)[row].any()} | {process, *LAWS[:1]}
    models = _final(make, wanted, X, Y, row_weight, workers, rates)
    best = np.column_stack([splits[0].predicted[name][:, column] for column, name in enumerate(chosen)])
    scale = spread.get(process, np.ones_like(Y))
    scores = score_rows(splits, Y, targets, picks, settings, seed)
    scores += coverage_rows(Y - best, scale, fold, targets, chosen, settings.level)
    fitted = FittedRegressor(
        domains=tuple(domains),
        targets=tuple(targets),
        weights=X,
        losses=Y,
        chosen=dict(zip(targets, chosen, strict=True)),
        out_of_fold=best,
        scores=scores,
        models=models,
        blend=_by_target(blend, names, targets),
        stack=_by_target(stacked, names, targets),
        spread=scale,
        choices={by: dict(zip(targets, pick, strict=True)) for by, pick in picks.items()},
        judged_on=tuple(split.split for split in judged),
        process_name=process,
        evidence=relied if set(NGRAMS) & set(models) else None,
        trust=tuple(found),
        # Trusted counts are the steadier law, and with few rows the better one.
        law_share=0.0 if process == NGRAM_PROCESS else law_share,
    )
    return replace(fitted, near=_near(fitted, make, row_weight, settings.near, counted, workers, rates, seed))


def fit_again(
    fitted: FittedRegressor,
    losses: Array,
    out_of_fold: Array,
    spread: Array,
    standard_errors: Array | None,
    settings: RegressionSettings,
    workers: int | None = None,
    epochs_per_weight: Array | None = None,
    predict_at: Sequence[float] | Array | None = None,
    counted: Mapping[str, float] | None = None,
) -> FittedRegressor:
    """The chosen regressors fitted to other losses of the same mixtures, such as those of another model size.

    Args:
        fitted: what was chosen, and by which scores.
        losses, out_of_fold, spread: in the place of its own, (n, T).
        standard_errors, settings, workers, epochs_per_weight, predict_at, counted: as for `fit`.
    """
    X, workers = fitted.weights, workers or os.cpu_count() or 1
    rates = _rates(X, epochs_per_weight)
    at = _rates_predicted(X, rates, predict_at)
    make: Make = {name: partial(regressor, name, at, fitted.evidence) for name in fitted.models}
    weight = _row_weight(fitted.losses, standard_errors)
    again = replace(
        fitted,
        losses=losses,
        out_of_fold=out_of_fold,
        spread=spread,
        models=_final(make, set(make), X, losses, weight, workers, rates),
    )
    return replace(again, near=_near(again, make, weight, settings.near, counted, workers, rates))


def _best_process(
    predicted: Mapping[str, Array], Y: Array, targets: Sequence[str], counted: Mapping[str, float] | None
) -> str:
    """The Gaussian process with the least error out of fold, relative to the losses' deviation, on targets that
    count; that around n-gram counts wins ties."""
    names = [name for name in (NGRAM_PROCESS, PROCESS, EPOCH_PROCESS) if name in predicted]
    columns = [j for j, target in enumerate(targets) if counted is None or counted.get(target, 0) > 0]
    scale = np.maximum(Y.std(axis=0), 1e-12)

    def error(name: str) -> float:
        return float((rmse(predicted[name], Y) / scale)[columns].mean())

    least = min(map(error, names), default=0.0)
    return next((name for name in names if error(name) <= tie_factor(len(Y)) * least), PROCESS)


def _rates(X: Array, epochs_per_weight: Sequence[float] | Array | None) -> Array | None:
    """Each row's epochs at weight 1, (n, d)."""
    if epochs_per_weight is None:
        return None
    rates = np.asarray(epochs_per_weight, dtype=float)
    if rates.shape not in (X.shape, X.shape[1:]) or not np.isfinite(rates).all() or (rates < 0).any():
        raise RegressionError(
            f"epochs per weight have shape {rates.shape} or hold a negative or unknown number",
            where="epochs_per_weight",
            remedy="give one number per domain, for all rows or for each",
        )
    return np.broadcast_to(rates, X.shape)


def _rates_predicted(X: Array, rates: Array | None, predict_at: Sequence[float] | Array | None) -> list[float] | None:
    """Epochs at weight 1 of the runs that predictions are for, length d."""
    if rates is None:
        return None
    at = rates.mean(axis=0) if predict_at is None else np.asarray(predict_at, dtype=float)
    if at.shape != X.shape[1:] or not np.isfinite(at).all() or (at < 0).any():
        raise RegressionError(
            "the rates to predict at must be one number per domain, not negative", where="predict_at", remedy="see fit"
        )
    return at.tolist()


def _on_repeated_data(X: Array, rates: Array | None, at: list[float] | None, how: str) -> Make:
    """Regressors that count repetition, if a run repeats any domain."""
    if how == "off" or rates is None or (X * rates).max() <= 1:
        return {}
    names = [f"{REPEATED}+{base}" for base in ("saturation", "lightgbm_tuned")] + list(EPOCHS) * (how == "fit")
    return {name: partial(regressor, name, at) for name in names}


def _by_target(weights: Array, names: Sequence[str], targets: Sequence[str]) -> dict[str, dict[str, float]]:
    """Blend weights (regressors, T) as target -> regressor -> weight, zeros left out."""
    return {
        target: {name: float(weight) for name, weight in zip(names, weights[:, column], strict=True) if weight > 0}
        for column, target in enumerate(targets)
    }


def _final(
    make: Make, wanted: set[str], X: Array, Y: Array, weight: Array, workers: int, rates: Array | None
) -> dict[str, MixtureRegressor]:
    """The regressors that predictions, intervals or the pure law need, fitted to all rows."""
    groups = [[name for name in group if name in wanted] for group in groups_of(make)]
    with one_thread_each(workers) as pool:
        jobs = [pool.submit(fit_group, make, group, X, Y, weight, rates) for group in groups if group]
        return {name: regressor for job in jobs for name, regressor in job.result().items()}


def _near(
    fitted: FittedRegressor,
    make: Make,
    weight: Array,
    share: float,
    counted: Mapping[str, float] | None,
    workers: int,
    rates: Array | None,
    seed: int = 0,
) -> tuple[dict[str, MixtureRegressor], ...]:
    """The regressors that a search minimises the mean of, one fit for each row of `search_weights`."""
    X, Y = fitted.weights, fitted.losses
    factors = search_weights(fitted, counted, share, seed)
    # What answers are made of and nothing else, where it is fitted again and again.
    needed = set(fitted.models) if len(factors) < 2 else fitted.used
    return tuple(_final(make, needed, X, Y, weight * factor, workers, rates) for factor in factors)


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
