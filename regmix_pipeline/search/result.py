"""What a search answers with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from regmix_pipeline.mixtures.mixture import Mixture


@dataclass(frozen=True)
class SearchResult:
    """The chosen mixture and what is known about it; every field but `mixture` is JSON-able as it is.

    Attributes:
        mixture: the answer, in parts per million, inside the limits.
        domains: per domain: domain, weight, prior, cap, floor, at_cap, at_floor.
        predictions: rows with name (chosen, natural, uniform, best_observed), mixture, target (or "objective"),
            predicted, low, high; nats per token of a proxy.
        gain: predicted, low, high (objective of natural minus chosen) and chance_better_than_natural.
        search: method, and counts of candidates drawn, beyond the limits, and scored.
        flags: what a reader must know before acting on the answer.
    """

    mixture: Mixture
    domains: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    gain: dict[str, float]
    search: dict[str, Any]
    flags: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; the mixture as its id and parts."""
        content = {key: value for key, value in asdict(self).items() if key != "mixture"}
        return {"mixture": self.mixture.id, "parts": dict(self.mixture.parts), **content}
