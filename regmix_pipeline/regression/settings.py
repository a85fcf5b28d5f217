"""Which regressors compete for a study's targets, and by what the winner is chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from regmix_pipeline.settings import Settings

RegressorName = Literal[
    "linear",
    "lightgbm",
    "lightgbm_tuned",
]


class RegressionSettings(Settings):
    """How losses are predicted from mixtures, and how predictors are compared."""

    regressors: tuple[RegressorName, ...] = ("linear", "lightgbm", "lightgbm_tuned")
    """Regressors to cross-validate. The choice per target is made among them."""
    choose_by: Literal["rank", "calibration"] = "rank"
    """Choose the highest out-of-fold Spearman correlation, or the lowest out-of-fold root mean square error."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the outer cross-validation; a fold never has fewer than two rows."""
    level: float = Field(default=0.9, gt=0.5, lt=1)
    """Nominal coverage of the prediction intervals and of the scores' bootstrap intervals."""
    bootstrap: int = Field(default=400, ge=50)
    """Resamples of rows behind each score's interval."""

    @field_validator("regressors")
    @classmethod
    def _distinct(cls, regressors: tuple[RegressorName, ...]) -> tuple[RegressorName, ...]:
        if not regressors or len(set(regressors)) != len(regressors):
            raise ValueError("list at least one regressor, and none twice")
        return regressors
