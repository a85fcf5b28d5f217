"""The regressors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.linear import LinearRegressor
from regmix_pipeline.regression.settings import RegressorName
from regmix_pipeline.regression.trees import LightGBMRegressor, TunedLightGBMRegressor

REGRESSORS: Mapping[RegressorName, Callable[[], MixtureRegressor]] = {
    "linear": LinearRegressor,
    "lightgbm": LightGBMRegressor,
    "lightgbm_tuned": TunedLightGBMRegressor,
}
