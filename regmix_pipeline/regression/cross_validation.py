"""Out-of-fold predictions of every regressor, side by side over regressors and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.progress import Progress, Say
from regmix_pipeline.regression.estimator import MixtureRegressor

Array = NDArray[np.float64]
Make = Mapping[str, Callable[[], MixtureRegressor]]


@contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of ``workers`` threads in which BLAS keeps to one thread, so that workers do not crowd each other.

    Threads, not processes: the time goes into BLAS and LightGBM, which both let go of the interpreter's lock.
    """
    with threadpool_limits(1), ThreadPoolExecutor(max(workers, 1)) as pool:
        yield pool


def out_of_fold(
    make: Make, X: Array, Y: Array, weight: Array, fold: NDArray[np.int64], workers: int, say: Say
) -> dict[str, Array]:
    """name -> predictions of shape (n, T), each row predicted by a model that saw no row of its fold.

    Args:
        make: name -> a new, unfitted regressor.
        X: weights (n, d).
        Y: losses (n, T).
        weight: of each row (n,).
        fold: number of each row's fold (n,); rows numbered -1 are trained on in every fold and never predicted (NaN).
        workers: threads.
        say: where progress goes.
    """
    numbers = [int(k) for k in np.unique(fold) if k >= 0]
    predicted = {name: np.full_like(Y, np.nan) for name in make}
    progress = Progress("cross-validation", len(make) * len(numbers), say)
    with one_thread_each(workers) as pool:
        jobs = {
            pool.submit(_fit_predict, build, X[fold != k], Y[fold != k], weight[fold != k], X[fold == k]): (name, k)
            for name, build in make.items()
            for k in numbers
        }
        for job in as_completed(jobs):
            name, k = jobs[job]
            predicted[name][fold == k] = job.result()
            progress.advance(note=name)
    return predicted


def _fit_predict(build: Callable[[], MixtureRegressor], X: Array, Y: Array, weight: Array, held: Array) -> Array:
    return build().fit(X, Y, sample_weight=weight).predict(held)
