"""Mixture experiments: the polynomial, its design, and what the design is worth."""

from __future__ import annotations

import numpy as np
import pytest

from regmix_pipeline.strategies.methods.scheffe import MAIN, PAIRS, Scheffe, ScheffePolynomial, i_optimal, pairs
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld


def test_the_polynomial_is_found_and_absent_products_stay_out() -> None:
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(6), 60)
    first, second = generator.uniform(2, 4, (2, 6)), np.zeros((2, 15))
    second[0, 3], second[1, [7, 11]] = -4.0, [3.0, -5.0]
    clean = weights @ first.T + pairs(weights) @ second.T
    law = ScheffePolynomial().fit(weights, clean + 0.005 * generator.standard_normal(clean.shape))
    fresh = generator.dirichlet(np.ones(6), 200)
    expected = fresh @ first.T + pairs(fresh) @ second.T
    assert np.abs(law.predict(fresh) - expected).max() < 0.05
    found = np.abs(law.learned_["second"])
    assert (found[second != 0] > 2).all()
    assert (found[second == 0] < 0.8).all()


def test_it_extrapolates_nothing_from_a_domain_that_no_row_draws() -> None:
    weights = np.column_stack([np.random.default_rng(1).dirichlet(np.ones(3), 30), np.zeros(30)])
    law = ScheffePolynomial().fit(weights, 3 - weights[:, 0])
    assert law.predict(weights) == pytest.approx(3 - weights[:, 0], abs=1e-3)


def mean_variance(pool: np.ndarray, design: np.ndarray) -> float:
    """The same criterion in the polynomial's own terms."""
    terms = np.column_stack([pool, pairs(pool)])
    prior = np.diag(1 / np.r_[np.full(pool.shape[1], MAIN), np.full(terms.shape[1] - pool.shape[1], PAIRS)])
    return float(np.trace(np.linalg.solve(terms[design].T @ terms[design] + prior, terms.T @ terms)) / len(pool))


@pytest.mark.parametrize("count", [8, 16, 30])
def test_the_design_leaves_less_variance_than_random_ones(count: int) -> None:
    generator = np.random.default_rng(3)
    pool = generator.dirichlet(np.full(5, 0.5), 150)
    design = i_optimal(pool, count, np.random.default_rng(0))
    others = [mean_variance(pool, generator.permutation(150)[:count]) for _ in range(200)]
    assert mean_variance(pool, design) < 0.75 * min(others)
    # No exchange of one row helps.
    for place in range(0, count, 5):
        for row in range(0, 150, 7):
            other = design.copy()
            other[place] = row
            assert mean_variance(pool, other) > mean_variance(pool, design) * (1 - 1e-4)


def test_the_design_is_worth_more_than_sampled_mixtures() -> None:
    worlds = [SyntheticWorld("easy", seed) for seed in (0, 1, 3)]
    shares = [
        [world.regret(Scheffe(design).choose(world.fresh(), 32 * world.proxy.flops))[1] for world in worlds]
        for design in (True, False)
    ]
    assert np.mean(shares[0]) < 0.5 * np.mean(shares[1])
    assert np.mean(shares[0]) < 0.7
