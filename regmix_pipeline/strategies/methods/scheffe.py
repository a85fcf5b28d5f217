"""Mixture experiments: a second-order Scheffé polynomial, and proxies at the mixtures that it is best learned from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.estimator import Columns, MixtureRegressor
from regmix_pipeline.search.region import project_to_limits, rounded_inside
from regmix_pipeline.strategies.arena import Arena, Array, Choice
from regmix_pipeline.strategies.methods.experiments import affordable, loss_table, sampled
from regmix_pipeline.study.settings.mixtures import MixtureSettings

POOL = 600
"""Mixtures among which the design is chosen, and over which its predictions' variance is averaged."""
PASSES = 5
"""Of the exchange over all rows, unless one changes nothing."""
CONSTRAINED = 60
"""Corners and edges' middles of the simplex in the pool, at most, moved inside the limits."""
MAIN, PAIRS = 1e4, 1e3
"""Prior variance of the coefficients of weights and of their products, over that of a proxy's noise."""


class ScheffePolynomial(MixtureRegressor):
    """loss = sum_i b_i w_i + sum_{i<j} b_ij w_i w_j, with as many products as a lasso keeps (Scheffé 1958).

    Products enter as what the weights themselves do not explain of them, so that only b_ij are penalised; the penalty
    is the one of least error on five folds, target by target.

    Args:
        folds: of that choice.
        seed: of the folds.

    >>> weights = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    >>> losses = 3 - weights[:, 0] - 4 * weights[:, 1] * weights[:, 2]
    >>> law = ScheffePolynomial().fit(weights, losses)
    >>> law.predict(np.array([[0.0, 0.5, 0.5]])).round(1).tolist()
    [2.0]
    """

    def __init__(self, folds: int = 5, seed: int = 0) -> None:
        self.folds, self.seed = folds, seed

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> dict[str, Any]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LassoLarsCV

        root = np.sqrt(sample_weight)[:, None]
        products = root * pairs(X)
        first = root * X
        # A hair of ridge: domains that no row draws have no column of their own.
        inverse = np.linalg.solve(first.T @ first + 1e-8 * len(X) * np.eye(X.shape[1]), first.T)
        rest = products - first @ (inverse @ products)
        size = np.sqrt((rest**2).mean(axis=0))
        used = size > 1e-9
        scaled = rest[:, used] / size[used]
        order = np.random.Generator(np.random.PCG64(self.seed)).permutation(len(X))
        count = max(2, min(self.folds, len(X) // 4))
        folds = [(order[np.arange(len(X)) % count != k], order[np.arange(len(X)) % count == k]) for k in range(count)]
        second = np.zeros((Y.shape[1], products.shape[1]))
        for j in range(Y.shape[1]):
            y = root[:, 0] * Y[:, j]
            left = y - first @ (inverse @ y)
            if used.any() and np.ptp(left) > 1e-9:
                with warnings.catch_warnings():
                    # A path that ends early, where products are all but the same, is compared as far as it goes.
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    lasso = LassoLarsCV(fit_intercept=False, cv=folds).fit(scaled, left)
                second[j, used] = lasso.coef_ / size[used]
        return {"first": (inverse @ (root * Y - products @ second.T)).T, "second": second}

    def _predict(self, X: Array, columns: Columns) -> Array:
        return X @ self.learned_["first"][columns].T + pairs(X) @ self.learned_["second"][columns].T


def pairs(weights: Array) -> Array:
    """Products of different weights, (n, d) -> (n, d (d - 1) / 2).

    >>> pairs(np.array([[0.5, 0.3, 0.2]])).round(2).tolist()
    [[0.15, 0.1, 0.06]]
    """
    first, second = np.triu_indices(weights.shape[1], 1)
    return weights[:, first] * weights[:, second]


@dataclass(frozen=True)
class Scheffe:
    """Data mixing as a mixture experiment (Mao and Du 2026): a sparse second-order Scheffé polynomial for every target,
    fitted to proxies of an I-optimal design, and its least value under the limits.

    The design is sought by row exchange (Fedorov 1972) over a pool of the sampler's draws, corners and middles of
    edges, all inside the limits. It is to have the least mean variance of predictions over the pool. The variance is
    that of a Bayesian polynomial, with flat priors on weights' coefficients and narrower ones on products' (DuMouchel
    and Jones 1994): designs exist for fewer proxies than coefficients, and are good if products matter or not.

    What differs, as far as the paper could be read (its abstract, and summaries of the rest): how it makes its design
    robust to the model is not known here in detail, and it chooses among measured candidate mixtures, where this
    minimises the polynomial, from many starts.

    Attributes:
        design: False to train the sampler's mixtures instead.
    """

    name = "scheffe"
    paper = (
        "Mao and Du, Data Mixing as Mixture Experiment: Response Surface Methodology and Optimal Design for Large "
        "Language Model Pretraining, 2608.23922"
    )

    design: bool = True

    def choose(self, arena: Arena, flops: float, seed: int = 0) -> Choice:
        """See `Strategy.choose`."""
        from regmix_pipeline.strategies.descent import minimised

        count = affordable(arena, self.name, flops)
        drawn = sampled(arena, MixtureSettings(count=POOL if self.design else count, oversample=5), seed)
        if self.design:
            pool = np.array([mixture.vector(arena.domains) for mixture in [*drawn, *_extremes(arena, seed)]])
            generator = np.random.Generator(np.random.Philox(key=int(fingerprint("scheffe", seed), 16)))
            drawn = [Mixture.at(arena.domains, pool[row]) for row in i_optimal(pool, count, generator)]
        weights, losses, targets = loss_table(arena, arena.train(drawn, arena.proxy, seed))
        shares = np.array([arena.objective[target] for target in targets])
        law = ScheffePolynomial(seed=seed).fit(weights, losses)
        order = np.argsort(losses @ shares, kind="stable")
        starts = np.concatenate([arena.prior[None] / arena.prior.sum(), weights[order[:7]]])
        found = minimised(
            lambda w: law.predict_targets(w, range(len(targets))) @ shares, arena.limits, starts, 150, 150
        )
        kept = int((law.learned_["second"] != 0).any(axis=0).sum())
        return Choice.of(rounded_inside(found, arena.limits), proxies=count, interactions=kept)


def _extremes(arena: Arena, seed: int) -> list[Mixture]:
    """Corners of the simplex and the middles of its edges, each as near as the limits allow; some, where they are
    many."""
    d = len(arena.domains)
    first, second = np.triu_indices(d, 1)
    points = np.concatenate([np.eye(d), (np.eye(d)[first] + np.eye(d)[second]) / 2])
    generator = np.random.Generator(np.random.PCG64(seed))
    some = points[generator.permutation(len(points))[:CONSTRAINED]] if len(points) > CONSTRAINED else points
    found = [rounded_inside(row, arena.limits) for row in project_to_limits(some, arena.limits)]
    return list({mixture.id: mixture for mixture in found}.values())


def i_optimal(pool: Array, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Rows of a pool whose measurements leave the least mean variance of a Scheffé polynomial over the pool, (count,).

    The polynomial is a Gaussian process over the pool, whose kernel is the inner product of its terms, so the work does
    not grow with their number. A measured row may be measured again.

    Args:
        pool: mixtures, (N, d).
        count: rows of the design.
        generator: of the rows that the exchange starts from.

    >>> pool = np.concatenate([np.eye(2), [[0.5, 0.5], [0.9, 0.1], [0.6, 0.4]]])
    >>> sorted(i_optimal(pool, 3, np.random.default_rng(0)).tolist())
    [0, 1, 2]
    """
    products = pool @ pool.T
    squares = pool**2 @ (pool**2).T
    covariance = MAIN * products + PAIRS * (products**2 - squares) / 2
    design = generator.permutation(len(pool))[:count] if count <= len(pool) else np.arange(count) % len(pool)
    for row in design:
        covariance = _measured(covariance, row, 1.0)
    for _ in range(PASSES):
        before = design.copy()
        for place, row in enumerate(design):
            covariance = _measured(covariance, row, -1.0)
            gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + 1.0)
            design[place] = gain.argmax() if gain.max() > gain[row] * (1 + 1e-6) else row
            covariance = _measured(covariance, design[place], 1.0)
        if np.array_equal(before, design):
            break
    return design


def _measured(covariance: Array, row: np.intp, noise: float) -> Array:
    """What is left of a covariance when a row is measured, with noise of variance 1; of variance -1: what it was before
    it was measured."""
    column = covariance[:, row]
    return covariance - np.outer(column, column) / (column[row] + noise)
