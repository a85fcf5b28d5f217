"""Which regressors compete for a study's targets, and by what the winner is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from regmix_pipeline.regression.catalogue import NGRAMS, REGRESSORS, STACK
from regmix_pipeline.study.settings.base import Settings

if TYPE_CHECKING:
    RegressorName = str
else:
    RegressorName = REGRESSORS.name_type(STACK)


class TrustSettings(Settings):
    """When n-gram counts are trusted: on every target with weight, as far as this study's own proxies show."""

    pilots: int = Field(default=12, ge=8)
    """Mixtures that must be measured."""
    rank: float = Field(default=0.75, gt=0, le=1)
    """Lowest Spearman correlation of the losses that counts predict with the measured ones, at the lower fifth of
    resampled mixtures."""
    error: float = Field(default=0.5, gt=0, le=1)
    """Highest error of a straight line on the mixture left out, over the losses' deviation."""


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
        "ngrams",
        "ngrams_process",
        "stack",
    )
    """Regressors to cross-validate; the choice per target is made among them. `stack` blends the others.
    `package.module:Class` is one of your own."""
    trust: TrustSettings = TrustSettings()
    """When the regressors of n-gram counts compete."""
    outliers: Literal["leave_out", "keep"] = "leave_out"
    """What becomes of runs whose losses are far from all others and from what their mixtures explain, as of a training
    that diverged. They are named in either case."""
    repetition: Literal["fit", "assume", "off"] = "fit"
    """Regressors that compete as well where runs see tokens more than once. fit: laws whose epochs wear each domain's
    tokens out at a rate of its own, and those of assume; assume: the rate of Muennighoff et al. 2305.16264; off: none.
    Cross-validation decides whether any is used."""
    choose_by: Literal["rank", "calibration"] = "rank"
    """Choose the highest out-of-fold Spearman correlation, or the lowest out-of-fold root mean square error."""
    extrapolation: Literal["weigh", "report", "off"] = "weigh"
    """Folds of whole regions (the rows heaviest in a domain, the densest corner) beside random ones: counted half in
    the choice, as a target run larger than the proxies or a search beyond the sampled region needs; only reported; or
    off."""
    law_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the pure law in what is searched, where the large run is to have `law_share_from` times a proxy's tokens
    or more: what the chosen regressors add to the law at the proxies' size may carry over to far larger models only in
    part, which no fold can show. Predictions stay those of the chosen regressors. 0: none."""
    law_share_from: float = Field(default=10.0, gt=0)
    """Tokens of the large run (`limits.target_tokens`) over those of a proxy from which `law_share` counts."""
    near: float = Field(default=0.25, ge=0, lt=1)
    """Share of the measured mixtures that count as good where the regressors that a search minimises are fitted: a run
    weighs less the further its objective lies above theirs. With fewer than 24 mixtures, the mean of twelve fits of
    reweighted runs is searched instead. Scores and predictions are of regressors that are fitted to all runs alike;
    0: those are searched too."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the outer cross-validation; a fold never has fewer than two rows."""
    level: float = Field(default=0.9, gt=0.5, lt=1)
    """Nominal coverage of the prediction intervals and of the scores' bootstrap intervals."""
    bootstrap: int = Field(default=400, ge=50, le=100_000)
    """Resamples of rows behind each score's interval."""
    step_laws: bool = True
    """Report in the ledger's `step_laws` from which step on laws of the training step predict the final losses."""

    @property
    def counts_ngrams(self) -> bool:
        """Whether a regressor of n-gram counts may compete."""
        return bool(set(NGRAMS) & set(self.regressors))

    def law_share_for(self, proxy_tokens: int | None, target_tokens: int | None) -> float:
        """`law_share` where the large run is far larger than a proxy, else 0, as where either is unknown.

        >>> RegressionSettings().law_share_for(10**8, 25 * 10**9), RegressionSettings().law_share_for(10**8, None)
        (0.25, 0.0)
        """
        if proxy_tokens is None or target_tokens is None:
            return 0.0
        return self.law_share if target_tokens >= self.law_share_from * proxy_tokens else 0.0

    @field_validator("regressors")
    @classmethod
    def _distinct(cls, regressors: tuple[RegressorName, ...]) -> tuple[RegressorName, ...]:
        if set(regressors) <= {STACK} or len(set(regressors)) != len(regressors):
            raise ValueError("list at least one regressor beside stack, and none twice")
        return regressors
