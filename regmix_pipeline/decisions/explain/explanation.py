"""Why a domain has the weight it has, from the evidence of the decision that gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regmix_pipeline.decisions.caveats import SMALL, undecided
from regmix_pipeline.decisions.evidence import Evidence, evidence_behind, inventory_settings
from regmix_pipeline.decisions.explain.effect import curve_of, effects_of, path_of, standard_error
from regmix_pipeline.decisions.explain.relaxing import active_limits, at_epochs
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.repetition import room_in_words
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.mixtures.limits import ROUNDED
from regmix_pipeline.study.coordinates import domain_of

VISIBLE = 1e-3
"""Differences of the objective worth a word, nats per token."""


def explanation_of(
    workspace: Workspace, domain: str, asked: str | None = None, epochs: float | None = None
) -> dict[str, Any]:
    """Why ``domain`` has its weight in a decision, JSON-able.

    Keys: decision, study, domain, answer (a sentence); weight, prior, cap, cap_from, floor, epochs, available_tokens;
    low and high (the range within one standard error of the best), standard_error (nats per token), weakly_identified
    and undecided (see `undecided`); search; effects (`effect.effects_of`), curve (`effect.curve_of`), chosen_point (its
    row in the curve), limits and limits_how (`relaxing.active_limits`), max_epochs (its limit, set_by, reason),
    shadow_price (of its cap, as the decision states it; None where the cap does not hold the weight), at_epochs (what
    the search answers with ``epochs`` allowed, see `relaxing.at_epochs`; None without), guardrails (rows of the
    decision, see `guardrails.Guardrails.rows`), alternatives (name, weight, whether the limits
    allowed it, predicted objective with interval), highest_sampled, mixtures (trained ones), with_weight (those that
    hold any of it), and evidence (asset -> version).

    Raises:
        LedgerError: no such decision, or its evidence is gone or altered.
        MixtureError: the decision has no such domain, or ``epochs`` are asked of one whose tokens are not known.
    """
    decision = find_decision(workspace, asked)
    row = next((row for row in decision["domains"] if row["domain"] == domain), None)
    if row is None:
        raise MixtureError(
            f"{decision['decision']} has no domain {domain!r}",
            where=decision["study"],
            remedy=f"name one of: {', '.join(each['domain'] for each in decision['domains'])}",
        )
    evidence = evidence_behind(workspace, decision)
    path = path_of(evidence, domain)
    limits, how = active_limits(evidence, domain)
    column = evidence.fitted.weights[:, path.domain]
    found: dict[str, Any] = {
        "decision": decision["decision"],
        "decided_at": decision["decided_at"],
        "study": decision["study"],
        "domain": domain,
        "answer": "",
        **{name: row.get(name) for name in ("weight", "prior", "cap", "floor", "epochs", "available_tokens")},
        **({"epochs_before": row["epochs_before"], "phases": decision["phases"]} if decision.get("phases") else {}),
        "cap_from": _cap_from(evidence, domain),
        "at_cap": row["at_cap"],
        "at_floor": row["at_floor"],
        "low": row["low"],
        "high": row["high"],
        "standard_error": standard_error(evidence),
        "weakly_identified": row["weakly_identified"],
        "undecided": undecided(row),
        "search": decision["search"],
        "objective": decision["objective"],
        "effects": effects_of(evidence, domain),
        "curve": curve_of(evidence, path),
        "chosen_point": path.chosen,
        "limits": limits,
        "limits_how": how,
        "max_epochs": (decision.get("repetition") or {}).get(domain_of(domain)),
        "shadow_price": next(
            (each for each in decision.get("shadow_prices") or () if each["domain"] == domain_of(domain)), None
        ),
        "at_epochs": None if epochs is None else at_epochs(evidence, row, epochs),
        "guardrails": decision.get("guardrails") or [],
        "alternatives": _alternatives(evidence, domain),
        "highest_sampled": float(column.max()),
        "mixtures": len(column),
        "with_weight": int((column > 0).sum()),
        "evidence": {each.asset: each.version for each in (evidence.regressor, evidence.searched, evidence.counted)},
    }
    return found | {"answer": answer_of(found)}


def _cap_from(evidence: Evidence, domain: str) -> str:
    """Where the domain's cap comes from, in words."""
    domain = domain_of(domain)
    row = evidence.inventory[domain]
    own = inventory_settings(evidence.counted).get(domain, [None])[0]
    asked = evidence.counted.settings["limits"]
    if row["cap"] >= 1:
        return "none"
    if own is not None and abs(own - row["cap"]) < 2e-6:
        return "the study file"
    tokens = row["available_tokens"]
    most = evidence.counted.settings.get("max_epochs", {}).get(domain, asked["max_epochs"])
    said = f"{tokens:,} tokens, at most {most:g} times in {asked['target_tokens']:,}"
    if seen := evidence.counted.settings.get("tokens_before", {}).get(domain):
        said += f" after {seen:,} in earlier phases"
    limit = (evidence.decision.get("repetition") or {}).get(domain) or {"reason": ""}
    return f"{said}; {limit['set_by']}: {limit['reason']}" if limit["reason"] else said


def _alternatives(evidence: Evidence, domain: str) -> list[dict[str, Any]]:
    """The weight that each mixture the decision was compared with gives the domain, the best predicted first."""
    decision = evidence.decision
    weights = {name: mixture.weights for name, mixture in evidence.references.items()}
    weights |= {name: each["weights"] for name, each in (decision.get("alternatives") or {}).items()}
    weights["chosen"] = decision["mixture"]["weights"]
    rows = {row["name"]: row for row in decision["predictions"] if row["target"] == "objective"}
    found = [
        {
            "name": name,
            "weight": float(held.get(domain, 0.0)),
            "allowed": name == "chosen" or _allowed(evidence, held),
            **{what: rows[name][what] if name in rows else None for what in ("predicted", "low", "high")},
        }
        for name, held in weights.items()
    ]
    return sorted(found, key=lambda row: (row["predicted"] is None, row["predicted"]))


def _allowed(evidence: Evidence, held: Mapping[str, float]) -> bool:
    """Whether the limits and guardrails of the decision allowed a mixture."""
    if not {name for name, weight in held.items() if weight > 0} <= set(evidence.domains):
        return False
    weights = np.array([[held.get(name, 0.0) for name in evidence.domains]])
    return bool(evidence.region.allow(weights, ROUNDED)[0] and evidence.objective.keeps(weights)[0])


def answer_of(found: Mapping[str, Any]) -> str:
    """The explanation in plain words: the weight, and because of what."""
    if found.get("at_epochs"):
        return f"{_because(found)} {_capitalised(room_in_words(found['at_epochs']['now'], found['at_epochs']))}."
    return _because(found)


def _because(found: Mapping[str, Any]) -> str:
    said = f"{percent(found['weight'])} {found['domain']} "
    if found["at_cap"] or found["at_floor"]:
        return said + _held(found)
    if -_best(found)["difference"] > found["standard_error"]:
        return said + _missed(found)
    if found["undecided"]:
        return said + _undecided(found)
    if found["weight"] < SMALL:
        return said + f"because more of it does not help{_differences(found)}."
    return said + f"because the objective is best near it{_differences(found)}{_better(found)}."


def _held(found: Mapping[str, Any]) -> str:
    side = "cap" if found["at_cap"] else "floor"
    own = next(
        (row for row in found["limits"] if row["own"] and row["limit"] == f"{side} of {domain_of(found['domain'])}"),
        None,
    )
    source = f" ({found['cap_from']})" if found["at_cap"] and found["cap_from"] != "none" else ""
    whose, domain = f"its {side} of {percent(found[side])}", domain_of(found["domain"])
    if domain != found["domain"]:
        whose = f"the {side} of {domain} in all phases together, {percent(found[side])},"
    said = f"because {whose}{source} holds it there"
    if own is None or own["worth"] <= 0:
        said += f"; the evidence sees no gain in a looser {side}"
    else:
        way = "more" if found["at_cap"] else "less"
        said += f": one point {way} would be worth {own['worth']:.4f} nats per token"
    if found["undecided"]:
        said += f". Even so, anything from {percent(found['low'])} to {percent(found['high'])} is as good within one"
        said += f" standard error ({found['standard_error']:.3f})"
    said += "."
    if found.get("shadow_price") and found["shadow_price"]["epochs"] is not None and not found.get("at_epochs"):
        return f"{said} {_capitalised(room_in_words(found['shadow_price'], found['shadow_price']['further']))}."
    return said


def _capitalised(said: str) -> str:
    return said[0].upper() + said[1:]


def _undecided(found: Mapping[str, Any]) -> str:
    """The evidence does not decide the weight; what it does rule out, and whose answer the weight then is."""
    said = (
        f"is not decided by the evidence: anything from {percent(found['low'])} to {percent(found['high'])} is as good "
        f"within one standard error ({found['standard_error']:.3f} nats per token) when the others adapt"
    )
    worse = [point for point in found["curve"] if not point["within_one_standard_error"]]
    below = [point["weight"] for point in worse if point["weight"] < found["weight"]]
    above = [point["weight"] for point in worse if point["weight"] > found["weight"]]
    ends = [f"{percent(max(below))} and less"] if below else []
    ends += [f"{percent(min(above))} and more"] if above else []
    ruled_out = f"only {' or '.join(ends)} is clearly worse" if ends else "no weight that is allowed is clearly worse"
    return (
        f"{said}; with the others in proportion, {ruled_out}{_differences(found)}. "
        f"{percent(found['weight'])} is {_searched(found)} of the search{_better(found)}."
    )


def _missed(found: Mapping[str, Any]) -> str:
    """The search did not find the best that was allowed."""
    best = _best(found)
    return (
        f"is not where the evidence puts it: {percent(best['weight'])}, with the others in proportion, was allowed "
        f"and is predicted {-best['difference']:.3f} nats per token better, beyond one standard error "
        f"({found['standard_error']:.3f}). {percent(found['weight'])} is {_searched(found)} of the search"
        f"{_differences(found)}."
    )


def _searched(found: Mapping[str, Any]) -> str:
    search = found["search"]
    simulated = search.get("method") == "simulation"
    return f"the mean of the best {search['top_k']} candidates" if simulated else "the optimum"


def _best(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lowest point of the curve that was allowed."""
    curve = found["curve"]
    allowed = [point for point in curve if point["allowed"]] or [curve[found["chosen_point"]]]
    return min(allowed, key=lambda point: point["difference"])


def _differences(found: Mapping[str, Any]) -> str:
    """What the ends of the curve and the natural weight would cost."""
    curve, at = found["curve"], found["chosen_point"]
    natural = min(range(len(curve)), key=lambda i: abs(curve[i]["weight"] - found["prior"]))
    parts = []
    for i in sorted({0, natural, len(curve) - 1} - {at}):
        point = curve[i]
        if abs(point["weight"] - curve[at]["weight"]) > SMALL:
            name = " (natural)" if i == natural else ""
            beyond = "" if point["sampled"] else ", beyond what was sampled"
            beyond += "" if point["allowed"] else ", not allowed"
            parts.append(f"{percent(point['weight'])}{name} {point['difference']:+.3f}{beyond}")
    return " (" + "; ".join(parts) + ")" if parts else ""


def _better(found: Mapping[str, Any]) -> str:
    """Where the curve is lower than at the chosen point by more than a reader would round away."""
    best = _best(found)
    if best["difference"] > -VISIBLE:
        return ""
    return (
        f"; by itself {percent(best['weight'])} would be predicted {-best['difference']:.3f} better, within the error"
    )


def percent(share: float) -> str:
    """A weight for a reader: ``34.5%``, ``0.3%``, ``0%``."""
    return f"{share:.0%}" if share == 0 or share == 1 else f"{share:.1%}"
