"""A blend beside a study: its limits, what its regressors predict, and how far its evidence is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from regmix_pipeline.blends.blend import Blend
from regmix_pipeline.blends.faults import Fault, Row
from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.decisions.prediction import predict
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.numbers import percent, signed

ROUNDED = 5e-4
"""By how much a share may pass a cap or a floor and be rounding."""


@dataclass(frozen=True)
class BesideStudy:
    """What a study says of a blend.

    Attributes:
        decision: id of the decision whose evidence is asked.
        predicted: weighted mean of the targets' losses for a proxy on the blend, nats per token.
        low, high: where it is with probability `prediction.LEVEL`.
        natural, chosen: the same of the natural and of the chosen mixture.
        distance: Hellinger distance to the nearest mixture that was measured.
        usual: how far measured mixtures usually are from their nearest neighbour.
    """

    decision: str
    predicted: float
    low: float
    high: float
    natural: float
    chosen: float
    distance: float
    usual: float


def domains_of(blend: Blend, domains: Sequence[str]) -> dict[str, str]:
    """Name of a source -> the study's domain that it is: of the same name, or the one whose name its path has."""
    found = {}
    for source in blend.sources:
        words = re.split(r"[^\w-]+", source.name.lower())
        stem = PurePosixPath(source.name).name.partition(".")[0].lower()
        named = [name for name in domains if name.lower() in (source.name.lower(), stem)]
        held = [name for name in domains if name.lower() in words]
        # The longest, since papers_de is no papers.
        part = [name for name in domains if re.search(rf"(^|[^a-z0-9]){re.escape(name.lower())}([^a-z0-9]|$)", stem)]
        match = named or held or sorted(part, key=len, reverse=True)
        if match:
            found[source.name] = match[0]
    return found


def beside(
    evidence: Evidence, domains: Mapping[str, str], rows: Sequence[Row]
) -> tuple[BesideStudy | None, list[Fault]]:
    """What a decision's evidence says of a blend, and the faults that it finds.

    Nothing is predicted for a blend with sources that are none of the study's domains.

    Args:
        evidence: of the decision.
        domains: name of a source -> the study's domain that it is, as `domains_of` finds it.
        rows: the blend's sources in the run.
    """
    faults = [
        Fault(
            "unknown",
            row.name,
            "is not one of the study's domains",
            f"name it as one of {', '.join(evidence.domains)}",
        )
        for row in rows
        if row.name not in domains
    ]
    if faults:
        return None, faults
    shares = dict.fromkeys(evidence.domains, 0.0)
    for row in rows:
        shares[domains[row.name]] += row.share
    faults += _limits(evidence, shares)
    chosen = Mixture.at(evidence.domains, evidence.chosen)
    asked = [Mixture.from_weights(shares), evidence.references["natural"], chosen]
    found_at, at_natural, at_chosen = predict(evidence, asked)
    found = BesideStudy(
        evidence.decision["decision"],
        found_at.objective.predicted,
        found_at.objective.low,
        found_at.objective.high,
        at_natural.objective.predicted,
        at_chosen.objective.predicted,
        found_at.distance,
        found_at.usual_distance,
    )
    return found, [*faults, *_predicted(found)]


def _limits(evidence: Evidence, shares: Mapping[str, float]) -> list[Fault]:
    _, limits = evidence.prior_and_limits
    found = []
    for name, cap, floor in zip(limits.domains, limits.caps.tolist(), limits.floors.tolist(), strict=True):
        if shares[name] > cap + ROUNDED:
            found.append(
                Fault(
                    "cap",
                    name,
                    f"has {percent(shares[name])} of the tokens, the study's cap is {percent(cap)}",
                    f"lower its weight to {percent(cap)}",
                )
            )
        if shares[name] < floor - ROUNDED:
            found.append(
                Fault(
                    "floor",
                    name,
                    f"has {percent(shares[name])} of the tokens, the study's floor is {percent(floor)}",
                    f"raise its weight to {percent(floor)}",
                )
            )
    return found


def _predicted(found: BesideStudy) -> list[Fault]:
    faults = []
    if found.distance > found.usual:
        faults.append(
            Fault(
                "far",
                "the blend",
                f"lies {found.distance:.2f} from the nearest mixture that was measured, and those lie "
                f"{found.usual:.2f} apart: what is predicted for it is a guess",
                "measure it: import a run on it, or add it to the study's alternatives",
            )
        )
    if found.low > found.natural:
        faults.append(
            Fault(
                "regret",
                "the blend",
                f"is predicted {signed(found.predicted - found.natural)} nats per token against the natural mixture, "
                f"at best {signed(found.low - found.natural)}",
                f"take decision {found.decision}, {signed(found.chosen - found.natural)} against natural",
            )
        )
    return faults
