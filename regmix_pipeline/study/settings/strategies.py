"""Which strategies a study compares, and what they may spend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from regmix_pipeline.strategies.catalogue import STRATEGIES
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.proxies import ModelAndTraining

if TYPE_CHECKING:
    StrategyName = str
else:
    StrategyName = STRATEGIES.name_type()

RESERVED = ("natural", "decision")
"""Strategies that every comparison has without being asked: the natural mixture, and the study's own decision."""


class StrategySettings(Settings):
    """A comparison of strategies: each chooses within the same budget, then the target model is trained on its choice.

    The natural mixture and the study's own decision are compared in any case.
    """

    names: tuple[StrategyName, ...] = Field(min_length=1)
    """Strategies: names of built-in ones, or package.module:Class of your own."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Strategy -> what it is made with, where it takes something."""
    budget_proxies: int = Field(default=64, ge=1)
    """What each may spend before the target run, as a number of the study's proxies. Runs of other sizes, and passes
    beside training, count by their FLOPs."""
    seeds: int = Field(default=3, ge=1)
    """Target runs of each choice. The same seeds for every strategy, so that differences are paired."""
    target: ModelAndTraining | None = None
    """The model that represents the large run. Default: the confirmation's."""
    small_proxy: ModelAndTraining | None = None
    """A model smaller than the proxies, for strategies that train two sizes or small models. None: there is none."""
    candidates: int = Field(default=0, ge=0)
    """Mixtures trained at every size, to see how well small models rank large ones; the strategies' choices are counted
    in, up to half of them. 0: none."""
    human: str | None = None
    """Name of the alternative that was made by hand, for strategies that start from one."""

    def candidate_count(self, chosen: int) -> int:
        """Candidates at most, where strategies chose ``chosen`` mixtures: half are mixtures that nobody chose."""
        return max(self.candidates, chosen + self.candidates // 2) if self.candidates else 0

    @model_validator(mode="after")
    def _consistent(self) -> StrategySettings:
        if len(set(self.names)) < len(self.names):
            raise ValueError("a strategy is named twice")
        unknown = sorted(set(self.options) - set(self.names))
        if unknown:
            raise ValueError(f"options for {unknown}, which are not among the names")
        return self
