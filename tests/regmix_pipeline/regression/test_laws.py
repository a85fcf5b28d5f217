"""The laws' jacobians, optima and uncertainty."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.regression.laws import least_squares
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw, matern
from regmix_pipeline.regression.laws.exponential import ExponentialLaw, PowerExponentialLaw
from regmix_pipeline.regression.laws.law import Law
from regmix_pipeline.regression.laws.least_squares import Problems, minimise
from regmix_pipeline.regression.laws.saturation import SaturationLaw


@pytest.mark.parametrize("law", [SaturationLaw(), PowerExponentialLaw(), ExponentialLaw()])
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_jacobian_is_the_derivative(law: Law, seed: int) -> None:
    generator = np.random.default_rng(seed)
    X = generator.dirichlet(np.ones(4), 5)
    blocks = law.blocks(4)
    names = [block.name for block in blocks for _ in range(block.size)]
    mean = np.concatenate([np.full(block.size, block.mean) for block in blocks])
    theta = mean + generator.normal(0, 0.3, size=(2, len(mean)))
    u, J = law.exponent(theta, X, True)
    assert J is not None
    np.testing.assert_allclose(law.exponent(theta, X, False)[0], u)
    for k, name in enumerate(names):
        if name in ("offset", "log_eps") or (name == "power" and isinstance(law, ExponentialLaw)):
            continue  # the offset is outside the exponent, the others are fixed
        step = np.zeros(len(mean))
        step[k] = 1e-6
        slope = (law.exponent(theta + step, X, False)[0] - law.exponent(theta - step, X, False)[0]) / 2e-6
        np.testing.assert_allclose(J[:, :, k], slope, atol=1e-5 * (1 + np.abs(slope).max()), err_msg=name)


def test_problems_are_solved_apart() -> None:
    """A problem's answer does not depend on which others are solved beside it."""
    generator = np.random.default_rng(0)
    X = generator.dirichlet(np.ones(3), 40)
    y = np.stack([0.3 + np.exp(X @ t) for t in ([1.0, 0, -1], [0.0, -2, 1], [-1.0, 1, 0])])
    law = ExponentialLaw()
    start = np.zeros((3, 3 + 6))
    start[:, -1] = np.log(3e-3)
    precision = np.full_like(start, 1e-6)
    precision[:, 5:] = np.inf
    problems = Problems(y, np.ones_like(y), start.copy(), precision)
    together, objective = minimise(law.exponent, start, X, problems)
    alone, _ = minimise(law.exponent, start[[1]], X, problems.some(np.array([1])))
    np.testing.assert_allclose(alone[0], together[1], atol=1e-9)
    assert objective.max() < 1e-4
    np.testing.assert_array_equal(together[:, 5:], start[:, 5:])


@pytest.mark.parametrize("held", [[True] * 9, [True, False, *[True] * 7]])
def test_with_fewer_rows_than_parameters_the_same_step_is_found(held: list[bool]) -> None:
    generator = np.random.default_rng(0)
    J, gradient = generator.normal(size=(3, 4, 9)), generator.normal(size=(3, 9))
    damped = np.where(held, 0.1, 1e-9) * generator.uniform(0.5, 2, size=(3, 9))
    of_many = least_squares._step_of_many_rows(J.transpose(0, 2, 1) @ J, damped, gradient, np.array(held))
    of_few = least_squares._step_of_few_rows(J, damped, gradient, np.array(held))
    np.testing.assert_allclose(of_few, of_many, rtol=1e-6)


def test_saturation_law_extrapolates_where_trees_stop(world: Callable) -> None:
    made = world(150)
    low = made.weights[:, 1] < 0.4  # nothing heavy in code is seen
    fresh = np.array([[0.1, 0.8, 0.05, 0.05], [0.02, 0.95, 0.01, 0.02]])
    law = SaturationLaw().fit(made.weights[low], made.losses[low])
    assert np.abs(law.predict(fresh) - made.truth(fresh)).max() < 0.12


def test_process_is_less_sure_far_from_the_data(world: Callable) -> None:
    made = world(120)
    near = made.weights[:, 1] < 0.3
    process = GaussianProcessLaw().fit(made.weights[near], made.losses[near])
    inside = process.standard_deviation(made.weights[near]).mean(axis=0)
    outside = process.standard_deviation(np.array([[0.0, 1.0, 0.0, 0.0]]))[0]
    assert (outside > 1.5 * inside).all()
    means = process.standard_deviation(made.weights[near], of_measurement=False).mean(axis=0)
    assert (means < inside).all()


def test_process_improves_on_a_law_that_is_wrong() -> None:
    generator = np.random.default_rng(3)
    X = generator.dirichlet(np.ones(3), 300)
    y = 3 + 0.5 * np.sin(6 * X[:, 0]) + generator.normal(0, 0.01, 300)  # no saturation law does this
    law = SaturationLaw().fit(X[:200], y[:200])
    process = GaussianProcessLaw().fit(X[:200], y[:200], law=law)
    errors = [np.sqrt(np.mean((model.predict(X[200:]) - y[200:]) ** 2)) for model in (law, process)]
    assert errors[1] < 0.4 * errors[0]


def test_kernel_is_one_at_no_distance() -> None:
    A = np.random.default_rng(0).normal(size=(5, 3))
    kernel = matern(A, A, 0.7)
    np.testing.assert_allclose(np.diag(kernel), 1.0, atol=1e-6)
    assert np.linalg.eigvalsh(kernel).min() > -1e-9


def test_a_process_on_mixtures_that_hardly_differ_stays_near_its_law():
    generator = np.random.default_rng(0)
    weights = np.array([0.5, 0.3, 0.2]) + 1e-4 * generator.standard_normal((24, 3))
    weights /= weights.sum(axis=1, keepdims=True)
    losses = 3.0 + 0.01 * generator.standard_normal(24)
    fitted = GaussianProcessLaw().fit(weights, losses)
    far = fitted.predict(np.eye(3))
    by_law = fitted.law_.predict(np.eye(3))
    assert np.abs(far - by_law.reshape(far.shape)).max() <= np.ptp(losses) + 1e-9
