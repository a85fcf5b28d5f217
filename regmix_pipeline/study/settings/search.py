"""How the best mixture is searched."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from regmix_pipeline.study.settings.base import Settings


class GroupLimit(Settings):
    """Bounds on the sum of some domains' weights."""

    domains: tuple[str, ...] = Field(min_length=1)
    """Names of the domains in the group; of phases that are chosen at once, a domain's weights in all of them, or
    `<phase>/<domain>`, that in one."""
    cap: float = Field(default=1.0, gt=0, le=1)
    """Highest sum of their weights."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Lowest sum of their weights."""
    max_epochs: float | None = Field(default=None, gt=0)
    """How often the large run may see the same token of each of these domains, where a domain says nothing itself.
    Of several groups that name a domain the lowest holds. Default: `limits.max_epochs`."""
    max_epochs_reason: str | None = Field(default=None, min_length=1)
    """Why, in a sentence that the decision repeats."""

    @model_validator(mode="after")
    def _ordered(self) -> GroupLimit:
        if self.floor > self.cap:
            raise ValueError("the group's floor is above its cap")
        if len(set(self.domains)) != len(self.domains):
            raise ValueError("a domain is listed twice in the group")
        return self


class Guardrail(Settings):
    """How much worse than the natural mixture a target may get in exchange for what the others gain."""

    targets: tuple[str, ...] = ()
    """Names of the targets it holds for, of weight 0 too. Default: every target of the study."""
    worse_by: float = 0.0
    """The chosen mixture's predicted loss may be at most this much above the natural mixture's, nats per token of a
    proxy. Below 0: it must be at least so much better. Of several guardrails for a target the strictest holds."""


class SearchSettings(Settings):
    """RegMix's simulation or a constrained optimiser, under the limits."""

    method: Literal["simulation", "optimiser"] = "optimiser"
    """simulation: score random candidates and average the best (RegMix). optimiser: minimise the fitted law under the
    same limits, a convex program where the law is convex, then refine with the chosen regressors."""
    objective: Literal["weighted", "worst_case"] = "weighted"
    """weighted: the weighted mean of the targets' losses. worst_case: the largest of them, each as a difference to the
    natural mixture's, times its weight; targets of weight 0 do not count."""
    candidates: int = Field(default=100_000, ge=1, le=10**9)
    """Candidates drawn from the Dirichlet around the prior."""
    top_k: int = Field(default=128, ge=1, le=10**6)
    """Best candidates whose mean is the answer. The limits are convex, so their mean respects them too."""
    strength: float = Field(default=1.0, gt=0)
    """Concentration of the Dirichlet: its parameters are strength x prior. RegMix's notebook uses 1."""
    beyond_limits: Literal["project", "reject"] = "project"
    """A candidate outside caps or floors is moved to the nearest mixture inside (in KL divergence), or dropped.
    Candidates that break a group limit, the divergence or the trust radius are dropped."""
    block: int = Field(default=65_536, ge=1, le=1 << 24)
    """Candidates in memory at a time."""
    screen: int = Field(default=20_000, ge=1, le=10**7)
    """Candidates that the fitted law lets through to the chosen regressors, which are a thousand times slower."""
    groups: tuple[GroupLimit, ...] = ()
    """Bounds on sums of weights."""
    max_divergence: float | None = Field(default=None, gt=0)
    """Highest Kullback-Leibler divergence of the mixture from the prior, in nats. None: no bound."""
    trust_radius: float | None = Field(default=None, gt=0, le=1)
    """Highest Hellinger distance to the nearest mixture that a proxy was trained on, in [0, 1]. None: no bound."""
    guardrails: tuple[Guardrail, ...] = ()
    """What no target may lose against the natural mixture, as the regressors predict it."""
    pareto_points: int = Field(default=0, ge=0, le=101)
    """Points of the Pareto front between the objective's targets to report. 0: none."""

    def recipe(self) -> dict[str, Any]:
        """What a search follows from, JSON-able. Without guardrails nothing is said of them, as before there were any:
        a search that stays the same keeps its recipe. Epochs reach it as the caps of the inventory."""
        found = self.model_dump(mode="json", exclude=None if self.guardrails else {"guardrails"})
        found["groups"] = [{name: each[name] for name in ("domains", "cap", "floor")} for each in found["groups"]]
        return found

    @model_validator(mode="after")
    def _enough(self) -> SearchSettings:
        if self.top_k > self.candidates:
            raise ValueError("top_k is above candidates")
        if self.top_k > self.screen:
            raise ValueError("top_k is above screen")
        return self
