"""Which regressors compete for a study's targets, and by what the winner is chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from regmix_pipeline.settings import Settings

RegressorName = Literal[
    "linear",
    "lightgbm",
    "lightgbm_tuned",
    "exponential",
    "log_linear",
    "power_exponential",
    "saturation",
    "gaussian_process",
    "law_lightgbm",
    "stack",
]


class RegressionSettings(Settings):
    """How losses are predicted from mixtures, and how predictors are compared."""

    regressors: tuple[RegressorName, ...] = (
        "linear",
        "lightgbm",
        "exponential",
        "power_exponential",
        "saturation",
        "gaussian_process",
        "law_lightgbm",
        "stack",
    )
    """Regressors to cross-validate; the choice per target is made among them. `stack` blends the others."""
    augmentations: tuple[Literal["c_mixup", "rc_mixup", "mixrl"], ...] = ()
    """Mixup wrappers that compete as well, round each regressor in `augmented`; called c_mixup+saturation and so on."""
    augmented: tuple[RegressorName, ...] = ("lightgbm_tuned", "saturation")
    """Regressors that are also tried with each of the augmentations."""
    choose_by: Literal["rank", "calibration"] = "rank"
    """Choose the highest out-of-fold Spearman correlation, or the lowest out-of-fold root mean square error."""
    extrapolation: Literal["weigh", "report", "off"] = "weigh"
    """Folds of whole regions (the rows heaviest in a domain, the densest corner) beside random ones: counted half in
    the choice, as a target run larger than the proxies or a search beyond the sampled region needs; only reported; or
    off."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the outer cross-validation; a fold never has fewer than two rows."""
    level: float = Field(default=0.9, gt=0.5, lt=1)
    """Nominal coverage of the prediction intervals and of the scores' bootstrap intervals."""
    bootstrap: int = Field(default=400, ge=50, le=100_000)
    """Resamples of rows behind each score's interval."""
    step_laws: bool = True
    """Report in the ledger's `step_laws` from which step on laws of the training step foretell the final losses."""

    @field_validator("regressors")
    @classmethod
    def _distinct(cls, regressors: tuple[RegressorName, ...]) -> tuple[RegressorName, ...]:
        if set(regressors) <= {"stack"} or len(set(regressors)) != len(regressors):
            raise ValueError("list at least one regressor beside stack, and none twice")
        return regressors

    @field_validator("augmented")
    @classmethod
    def _no_stack(cls, augmented: tuple[RegressorName, ...]) -> tuple[RegressorName, ...]:
        if "stack" in augmented:
            raise ValueError("the stack is a blend of regressors, it cannot be augmented itself")
        return augmented

    @property
    def names(self) -> list[str]:
        """Everything that competes, the augmented ones included."""
        return [*self.regressors, *(f"{wrapper}+{base}" for wrapper in self.augmentations for base in self.augmented)]
