"""A fitted study with a known best mixture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.study.settings.regression import RegressionSettings

DOMAINS = ("books", "code", "papers", "web")


@pytest.fixture(scope="session")
def fitted() -> FittedRegressor:
    """90 runs of a saturation law: `prose` likes books and web, `programs` code."""
    generator = np.random.default_rng(0)
    strength = np.exp(generator.uniform(-1.5, 1.5, size=(90, 1)))
    gammas = generator.standard_gamma(strength * np.array([0.5, 1.0, 1.0, 1.5])) + 1e-6
    weights = gammas / gammas.sum(axis=1, keepdims=True)
    helps = np.array([[3.0, 0.1], [0.1, 3.0], [0.3, 0.3], [1.5, 0.4]])
    losses = 2.5 + 1.5 * ((weights + 3e-3) ** 0.6 @ helps) ** -0.5 + generator.normal(0, 0.01, (90, 2))
    settings = RegressionSettings(regressors=("linear", "saturation", "gaussian_process"), bootstrap=50)
    return fit(weights, losses, None, DOMAINS, ["prose", "programs"], settings, workers=2, say=lambda line: None)


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Small matrices are slower on several threads than on one."""
    with threadpool_limits(1):
        yield
