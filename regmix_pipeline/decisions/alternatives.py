"""What a decision was compared with: natural, uniform, best observed, mixtures a person gave, the decision before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regmix_pipeline.decisions import find
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.limits import ROUNDED
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.search.stage import with_former_domains
from regmix_pipeline.study.coordinates import domain_of, over_phases
from regmix_pipeline.study.phases import phase_parts

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

LEVEL = 0.9
_ORIGIN = {
    "natural": "the tokens available, as near as the caps allow",
    "uniform": "all domains alike, as near as the caps allow",
    "best_observed": "the trained mixture of least measured loss within the limits",
}


@dataclass(frozen=True)
class Alternative:
    """A mixture that was not chosen, or the chosen one.

    Attributes:
        name: chosen, natural, uniform, best_observed, previous, or as the study calls it.
        mixture: the mixture.
        origin: where it comes from, in words.
    """

    name: str
    mixture: Mixture
    origin: str

    def as_json(self) -> dict[str, Any]:
        """Id, weights and origin."""
        return {"mixture": self.mixture.id, "weights": self.mixture.weights, "from": self.origin}


def compared(workspace: Workspace, fitted: FittedRegressor) -> list[Alternative]:
    """What the evidence itself offers beside the chosen mixture, then what the study's file gives."""
    from regmix_pipeline.search.best import named_mixtures

    prior, limits = with_former_domains(*prior_and_limits(workspace), fitted.domains)
    named = named_mixtures(fitted, prior, limits, workspace.json("optimal_mixture")["objective"])
    return [
        *(Alternative(name, mixture, _ORIGIN[name]) for name, mixture in named.items()),
        *(
            Alternative(name, Mixture.in_all_phases(weights, phase_parts(workspace.study)), "the study file")
            for name, weights in workspace.study.alternatives.items()
        ),
    ]


def previous_alternative(workspace: Workspace, decision: str) -> Alternative | None:
    """The decision of this home that was the current one before ``decision``."""
    last = find.decision_before(workspace, decision)
    if last is None:
        return None
    return Alternative("previous", Mixture.from_weights(last["mixture"]["weights"]), f"decision {last['decision']}")


def predictions_for(
    fitted: FittedRegressor, named: Mapping[str, Mixture], objective: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Predicted losses as the search gives them for its own mixtures; one that draws on an unknown domain has none."""
    from regmix_pipeline.search.best import predictions_of

    known = {name: mixture for name, mixture in named.items() if set(mixture.weights) <= set(fitted.domains)}
    return predictions_of(fitted, known, objective, LEVEL) if known else []


def beyond_limits(record: Mapping[str, Any], weights: Mapping[str, float]) -> str:
    """Which domains' caps and floors in a decision's record a mixture breaks, in words; "" where none: it was not a
    choice otherwise, however good it is predicted to be."""
    if not weights:
        return ""
    rows = record.get("domains") or ()
    limits = {domain_of(each["domain"]): (each.get("floor"), each.get("cap")) for each in rows}
    broken = []
    for domain, weight in {**dict.fromkeys(limits, 0.0), **over_phases(weights)}.items():
        floor, cap = limits.get(domain, (None, 0.0))
        if (floor is not None and weight < floor - ROUNDED) or (cap is not None and weight > cap + ROUNDED):
            broken.append(domain)
    listed = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
    return f"beyond the limits: {listed}" if broken else ""
