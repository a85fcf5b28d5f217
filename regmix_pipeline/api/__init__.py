"""The method for a notebook: tables of weights and losses in, a mixture with its interval out; no study, no home.

A thin layer over what the pipeline's stages use: tables are read as `regmix import-runs` reads them, fitted as the
stage `regressor` fits, searched as `optimal_mixture` searches, and `propose` chooses as the next round is chosen.
"""

from regmix_pipeline.api.fitted import Fit
from regmix_pipeline.api.fitting import fit
from regmix_pipeline.api.limits import LargeRun
from regmix_pipeline.api.optimum import Optimum
from regmix_pipeline.api.prediction import Prediction
from regmix_pipeline.api.sampling import sample

__all__ = ["Fit", "LargeRun", "Optimum", "Prediction", "fit", "sample"]
