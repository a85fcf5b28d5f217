"""The mixture that somebody asks about: by its name, as ``domain=weight,...``, or as a JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from regmix_pipeline.decisions.evidence import Evidence
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.study.coordinates import domains_of, phase_of
from regmix_pipeline.study.phases_of_decision import chosen_together

SUM = 0.01
"""By how much weights may miss 1, or 100 per cent, and be rounded."""
FORMS = "give a name, web=0.6,code=0.4 or a JSON object of weights"


def named_mixtures(evidence: Evidence) -> dict[str, Mixture]:
    """Mixtures that have a name in a decision: chosen, natural, uniform, best_observed and its alternatives.

    Alternatives with domains that the evidence does not have are left out.
    """
    found = {"chosen": Mixture.from_weights(evidence.decision["mixture"]["weights"]), **evidence.references}
    for name, each in (evidence.decision.get("alternatives") or {}).items():
        if set(each["weights"]) <= set(evidence.domains):
            found.setdefault(name, Mixture.from_weights(each["weights"]))
    return found


def mixture_asked(evidence: Evidence, asked: str | Mapping[str, Any]) -> Mixture:
    """The mixture that a text or an object names.

    Args:
        evidence: of a decision.
        asked: a name, ``web=0.6,code=0.4``, a JSON object as text, or domain -> weight. Domains left out have weight 0.

    Raises:
        MixtureError: no such name or domain, or weights that do not sum to 1 or to 100.
    """
    if isinstance(asked, str):
        known = named_mixtures(evidence)
        if asked in known:
            return known[asked]
        where = f"mixture {asked[:60]!r}"
        if "=" not in asked and not asked.lstrip().startswith("{"):
            raise MixtureError("no mixture has this name", where=where, remedy=f"{FORMS}; names: {', '.join(known)}")
        return _checked(evidence, _weights_in(asked, where), where)
    return _checked(evidence, asked, "mixture")


def _weights_in(text: str, where: str) -> Mapping[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise MixtureError(f"is not JSON: {error}", where=where, remedy=FORMS) from error
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, weight = (piece.strip() for piece in part.partition("="))
        if not sign or name in found:
            problem = f"{name!r} is given twice" if sign else f"{part!r} has no weight"
            raise MixtureError(problem, where=where, remedy=FORMS)
        found[name] = weight
    return found


def _checked(evidence: Evidence, weights: Mapping[str, Any], where: str) -> Mixture:
    together = chosen_together(evidence.decision)
    # One mixture of phases that were chosen at once is that of each of them.
    plain = bool(together) and set(weights) <= set(domains_of(evidence.domains))
    unknown = [name for name in weights if name not in evidence.domains] if not plain else []
    if unknown:
        domains = ", ".join(evidence.domains)
        raise MixtureError(f"{unknown[0]!r} is not a domain", where=where, remedy=f"the domains are {domains}")
    values = {name: _number(name, weight, where) for name, weight in weights.items()}
    total = sum(values.values())
    if min(abs(total - 1), abs(total / 100 - 1)) > SUM:
        raise MixtureError(f"the weights sum to {total:g}", where=where, remedy="let them sum to 1, or to 100")
    if plain:
        return Mixture.in_all_phases(values, together)
    for phase, part in together.items():
        held = sum(value for name, value in values.items() if phase_of(name) == phase) / total
        if abs(held - part / PARTS) > SUM:
            problem = f"the weights of {phase} sum to {held:g}, and its share of the tokens is {part / PARTS:g}"
            raise MixtureError(problem, where=where, remedy="give each phase its share, or one mixture for all phases")
    return Mixture.from_weights(values)


def _number(name: str, weight: Any, where: str) -> float:
    try:
        value = float("nan") if isinstance(weight, bool) else float(weight)
    except (TypeError, ValueError):
        value = float("nan")
    if not math.isfinite(value) or value < 0:
        raise MixtureError(f"the weight of {name!r} is {weight!r}", where=where, remedy="give a number from 0 to 1")
    return value
