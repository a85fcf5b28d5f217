"""A world whose losses are known: a saturation law over four domains and three targets, with measured noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
DOMAINS = ["books", "code", "papers", "web"]
TARGETS = ["books", "code", "news"]


@dataclass(frozen=True)
class World:
    """Mixtures, measured losses and the law behind them."""

    weights: Array
    losses: Array
    truth: Callable[[Array], Array]


def true_losses(weights: Array) -> Array:
    helps = np.array([[3.0, 0.2, 0.4], [0.1, 3.0, 0.2], [0.3, 0.4, 0.5], [1.0, 0.3, 2.0]])
    return 2.5 + 1.5 * ((weights + 3e-3) ** 0.6 @ helps) ** -0.5


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """Makes a world of ``rows`` mixtures."""

    def made(rows: int, noise: float = 0.01, seed: int = 0) -> World:
        generator = np.random.default_rng(seed)
        strength = np.exp(generator.uniform(-2, 1.5, size=(rows, 1)))
        gammas = generator.standard_gamma(strength * np.array([1.0, 0.8, 0.5, 1.7])) + 1e-6
        weights = gammas / gammas.sum(axis=1, keepdims=True)
        losses = true_losses(weights)
        return World(weights, losses + generator.normal(0, noise, losses.shape), true_losses)

    return made


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Small matrices are slower on several threads than on one."""
    with threadpool_limits(1):
        yield
