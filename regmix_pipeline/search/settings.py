"""How the best mixture is searched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from regmix_pipeline.settings import Settings


class SearchSettings(Settings):
    """RegMix's simulation, under the limits."""

    method: Literal["simulation"] = "simulation"
    """simulation: score random candidates and average the best (RegMix)."""
    candidates: int = Field(default=100_000, ge=1)
    """Candidates drawn from the Dirichlet around the prior."""
    top_k: int = Field(default=128, ge=1)
    """Best candidates whose mean is the answer. The limits are convex, so their mean respects them too."""
    strength: float = Field(default=1.0, gt=0)
    """Concentration of the Dirichlet: its parameters are strength x prior. RegMix's notebook uses 1."""
    beyond_limits: Literal["project", "reject"] = "project"
    """A candidate outside caps or floors is moved to the nearest mixture inside (in KL divergence), or dropped."""
    block: int = Field(default=65_536, ge=1)
    """Candidates in memory at a time."""

    @model_validator(mode="after")
    def _enough(self) -> SearchSettings:
        if self.top_k > self.candidates:
            raise ValueError("top_k is above candidates")
        return self
