"""Out-of-fold predictions of every regressor, side by side over regressors and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.progress import Progress, Say
from regmix_pipeline.regression.catalogue import EPOCHS, NGRAMS
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.laws.corrected import CorrectedLaw, GaussianProcessLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.repetition import EpochsProcess, EpochsRegressor, RepeatedDataRegressor

Array = NDArray[np.float64]
Folds = NDArray[np.int64]
Make = Mapping[str, Callable[[], MixtureRegressor]]


@contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of ``workers`` threads in which BLAS keeps to one thread, so that workers do not crowd each other.

    Threads, not processes: the time goes into BLAS and LightGBM, which both let go of the interpreter's lock.
    """
    with threadpool_limits(1), ThreadPoolExecutor(max(workers, 1)) as pool:
        yield pool


def groups_of(make: Make) -> list[list[str]]:
    """Regressors that are fitted one after the other: those built on the saturation law share one fit of it, and those
    that fit repetition another."""
    on_law = [
        name
        for name, build in make.items()
        if name not in (*NGRAMS, *EPOCHS) and isinstance(build(), SaturationLaw | CorrectedLaw)
    ]
    # The law first, whatever the order asked for.
    on_law.sort(key=lambda name: not isinstance(make[name](), SaturationLaw))
    on_epochs = [name for name in EPOCHS if name in make]
    shared = [group for group in (on_law, on_epochs) if group]
    return shared + [[name] for name in make if name not in (*on_law, *on_epochs)]


def fit_group(
    make: Make, names: Sequence[str], X: Array, Y: Array, weight: Array, rates: Array | None = None
) -> dict[str, MixtureRegressor]:
    """The regressors of one group, fitted to the same rows; ``rates`` are the rows' epochs at weight 1, (n, d)."""
    law: SaturationLaw | None = None
    worn: MixtureRegressor | None = None
    fitted: dict[str, MixtureRegressor] = {}
    for name in names:
        regressor = make[name]()
        if isinstance(regressor, EpochsProcess):
            regressor.fit(X, Y, weight, law=worn, rates=rates)
        elif isinstance(regressor, CorrectedLaw):
            regressor.fit(X, Y, weight, law=law)
            law = regressor.law_
        elif isinstance(regressor, RepeatedDataRegressor):
            regressor.fit(X, Y, weight, rates=rates)
            worn = regressor.base_ if isinstance(regressor, EpochsRegressor) else worn
        else:
            regressor.fit(X, Y, weight)
            law = regressor if isinstance(regressor, SaturationLaw) else law
        fitted[name] = regressor
    return fitted


def out_of_fold(
    make: Make,
    X: Array,
    Y: Array,
    weight: Array,
    fold: Folds,
    workers: int,
    say: Say,
    kind: str = "random",
    rates: Array | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Predictions of each row by models that saw no row of its fold.

    Args:
        make: name -> a new, unfitted regressor.
        X: weights (n, d).
        Y: losses (n, T).
        weight: of each row (n,).
        fold: number of each row's fold (n,); rows numbered -1 are trained on in every fold and never predicted (NaN).
        workers: threads.
        say: where progress goes.
        kind: of the folds, for the progress line.
        rates: epochs of each domain at weight 1 in each row's run, (n, d), for regressors that count repetition.

    Returns:
        name -> predictions (n, T), and name -> standard deviations (n, T) of the Gaussian processes among them.
    """
    numbers = [int(k) for k in np.unique(fold) if k >= 0]
    predicted = {name: np.full_like(Y, np.nan) for name in make}
    spread: dict[str, Array] = {}
    groups = groups_of(make)
    progress = Progress(f"folds ({kind})", len(groups) * len(numbers), say)
    with one_thread_each(workers) as pool:
        jobs = {
            pool.submit(_predict_held, make, names, X, Y, weight, fold, k, rates): (names, k)
            for names in groups
            for k in numbers
        }
        for job in as_completed(jobs):
            names, k = jobs[job]
            found, deviations = job.result()
            for name in names:
                predicted[name][fold == k] = found[name]
            for name, deviation in deviations.items():
                spread.setdefault(name, np.full_like(Y, np.nan))[fold == k] = deviation
            progress.advance(note=names[-1])
    return predicted, spread


def _predict_held(
    make: Make, names: Sequence[str], X: Array, Y: Array, weight: Array, fold: Folds, k: int, rates: Array | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    train, held = fold != k, fold == k
    fitted = fit_group(make, names, X[train], Y[train], weight[train], None if rates is None else rates[train])
    predicted = {
        name: regressor.predict_at(X[held], rates[held])
        if isinstance(regressor, RepeatedDataRegressor | EpochsProcess) and rates is not None
        else regressor.predict(X[held])
        for name, regressor in fitted.items()
    }
    processes = {name: one for name, one in fitted.items() if isinstance(one, GaussianProcessLaw)}
    return predicted, {
        name: one.deviation_at(X[held], rates[held])
        if isinstance(one, EpochsProcess) and rates is not None
        else one.standard_deviation(X[held])
        for name, one in processes.items()
    }
