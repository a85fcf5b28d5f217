"""The regressors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from regmix_pipeline.regression.augmentation import CMixup, MixRL, RCMixup
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.laws.corrected import BoostedLaw, GaussianProcessLaw
from regmix_pipeline.regression.laws.exponential import ExponentialLaw, PowerExponentialLaw
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.linear import LinearRegressor
from regmix_pipeline.regression.repetition import RepeatedDataRegressor
from regmix_pipeline.regression.trees import LightGBMRegressor, TunedLightGBMRegressor

REGRESSORS: Mapping[str, Callable[[], MixtureRegressor]] = {
    "linear": LinearRegressor,
    "lightgbm": LightGBMRegressor,
    "lightgbm_tuned": TunedLightGBMRegressor,
    "exponential": ExponentialLaw,
    "log_linear": partial(ExponentialLaw, positive_offset=True),
    "power_exponential": PowerExponentialLaw,
    "saturation": SaturationLaw,
    "gaussian_process": GaussianProcessLaw,
    "law_lightgbm": BoostedLaw,
}
"""Every regressor but the stack, which is a blend of these (see `blend`)."""

AUGMENTATIONS: Mapping[str, type[CMixup]] = {"c_mixup": CMixup, "rc_mixup": RCMixup, "mixrl": MixRL}
"""Wrappers; an augmented regressor is called ``<augmentation>+<regressor>``."""

LAWS = ("saturation", "power_exponential", "exponential", "log_linear")
"""Pure laws, best first: smooth, few parameters, the ones to trust beyond the sampled region."""


REPEATED = "repeated"
"""Wrapper for runs that repeat data; ``repeated+saturation`` sees what weights are worth, and epochs."""


def regressor(name: str, epochs_per_weight: list[float] | None = None) -> MixtureRegressor:
    """A new, unfitted regressor, such as ``saturation``, ``c_mixup+lightgbm_tuned`` or ``repeated+saturation``.

    Args:
        name: as in the settings and the scores.
        epochs_per_weight: for a repeated one, how often the run sees each domain at weight 1.
    """
    wrapper, _, base = name.rpartition("+")
    found = REGRESSORS[base]()
    if wrapper == REPEATED:
        return RepeatedDataRegressor(found, epochs_per_weight)
    return AUGMENTATIONS[wrapper](found) if wrapper else found
