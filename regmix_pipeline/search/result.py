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
        domains: per domain: domain, weight, prior, cap, floor, at_cap, at_floor; sensitivity (change of the objective
            per percentage point more); low, high (range of the weight within one standard error of the best),
            weakly_identified; highest_sampled (largest weight of a measured mixture).
        predictions: rows with name (chosen, natural, uniform, best_observed), mixture, target (or "objective"),
            predicted, low, high; nats per token of a proxy; law and predicted_by_law, the pure law that is to be
            trusted beyond the sampled region and what it says (None without one).
        gain: predicted, optimism, corrected, low, high (objective of natural minus chosen), chance_better_than_natural
            and chance_better_than_best_observed.
        search: method, and counts of candidates drawn, beyond the limits, and scored.
        active: limits that hold the answer back: domains at cap or floor, groups, divergence, trust radius, guardrails.
        flags: what a reader must know before acting on the answer.
        pareto: other optima between the targets; see `pareto.pareto_front`.
        guardrails: what the answer makes of each; see `guardrails.Guardrails.rows`.
    """

    mixture: Mixture
    domains: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    gain: dict[str, Any]
    search: dict[str, Any]
    active: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    pareto: list[dict[str, Any]] = field(default_factory=list)
    guardrails: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values; the mixture as its id and parts."""
        left_out = {"mixture"} if self.guardrails else {"mixture", "guardrails"}
        content = {key: value for key, value in asdict(self).items() if key not in left_out}
        return {"mixture": self.mixture.id, "parts": dict(self.mixture.parts), **content}
