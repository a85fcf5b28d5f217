"""The regressors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regmix_pipeline.registry import Registry

if TYPE_CHECKING:
    from regmix_pipeline.ngrams.evidence import NgramEvidence
    from regmix_pipeline.regression.estimator import MixtureRegressor

REGRESSORS = Registry(
    "regressor",
    __name__,
    {
        "linear": "linear:LinearRegressor",
        "lightgbm": "trees:LightGBMRegressor",
        "lightgbm_tuned": "trees:TunedLightGBMRegressor",
        "exponential": "laws.exponential:ExponentialLaw",
        "log_linear": "laws.exponential:LOG_LINEAR",
        "power_exponential": "laws.exponential:PowerExponentialLaw",
        "saturation": "laws.saturation:SaturationLaw",
        "gaussian_process": "laws.corrected:GaussianProcessLaw",
        "law_lightgbm": "laws.corrected:BoostedLaw",
        "ngrams": "laws.ngrams:NgramLaw",
        "ngrams_process": "laws.ngrams:NgramProcess",
        "ngrams_lightgbm": "laws.ngrams:BoostedNgrams",
        "epochs": "repetition:EpochsRegressor",
        "epochs_process": "repetition:EpochsProcess",
    },
)
"""Every regressor but the stack, which is a blend of these (see `blend`)."""

STACK = "stack"
PROCESS, NGRAM_PROCESS, EPOCH_PROCESS = "gaussian_process", "ngrams_process", "epochs_process"

NGRAMS = ("ngrams", "ngrams_process", "ngrams_lightgbm")
"""Regressors of the losses that n-gram counts predict; they compete where these are trusted (see `trust`)."""

LAWS = ("saturation", "power_exponential", "exponential", "log_linear")
"""Pure laws, best first: smooth, few parameters, the ones to trust beyond the sampled region."""


EPOCHS = ("epochs", EPOCH_PROCESS)
"""Regressors that fit what repetition is worth; they compete where runs repeat data, and are chosen where they win."""
REPEATED = "repeated"
"""Wrapper for runs that repeat data; ``repeated+saturation`` sees what weights are worth, and epochs."""


def regressor(
    name: str, epochs_per_weight: list[float] | None = None, evidence: NgramEvidence | None = None
) -> MixtureRegressor:
    """A new, unfitted regressor, such as ``saturation``, ``repeated+saturation`` or ``my_package.module:Regressor``.

    Args:
        name: as in the settings and the scores.
        epochs_per_weight: for a repeated one and for one of `NGRAMS` or `EPOCHS`, how often the run sees each domain
            at weight 1.
        evidence: for one of `NGRAMS`, what counts say of mixtures of the same domains.

    >>> import numpy as np
    >>> weights = np.array([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.9, 0.1]])
    >>> fitted = regressor("linear").fit(weights, 3 - weights[:, 0])
    >>> fitted.predict(np.array([[0.5, 0.5]])).round(3).tolist()
    [2.5]
    """
    wrapper, _, base = name.rpartition("+")
    found = REGRESSORS.find(base)()
    if base in NGRAMS:
        found.set_params(evidence=evidence, epochs_per_weight=epochs_per_weight)
    if base in EPOCHS:
        found.set_params(epochs_per_weight=epochs_per_weight)
    if not wrapper:
        return found
    from regmix_pipeline.regression.repetition import RepeatedDataRegressor

    return RepeatedDataRegressor(found, epochs_per_weight)
