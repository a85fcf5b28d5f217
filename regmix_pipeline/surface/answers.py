"""What programs ask of a decision's response surface, as JSON-able values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from threadpoolctl import threadpool_limits

from regmix_pipeline.decisions.evidence import Evidence, evidence_behind
from regmix_pipeline.decisions.explain.effect import curve_of, path_of
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.prediction import LEVEL, predict
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.search.acquisition import Acquisition
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.surface.asked import mixture_asked, named_mixtures

UNIT = "nats per token of a proxy"
MOST_PROPOSED = 64
"""Mixtures proposed at once."""
MOST_ASKED = 1000
"""Mixtures predicted at once."""
CURVE = ("weight", "objective", "difference", "distance", "sampled", "allowed")
"""What is kept of each point of a curve; targets and whole mixtures are asked of `predictions`."""


def evidence_of(workspace: Workspace, decision: str | None = None) -> Evidence:
    """The evidence of a decision.

    Args:
        workspace: the study on disk.
        decision: its id, the start of one, "previous"; None: the current one.

    Raises:
        LedgerError: no such decision, or its evidence is gone or altered.
    """
    return evidence_behind(workspace, find_decision(workspace, decision))


def predictions(evidence: Evidence, asked: Sequence[str | Mapping[str, Any]], level: float = LEVEL) -> dict[str, Any]:
    """Predicted losses of mixtures with intervals and standard errors; see `prediction.Predicted`.

    Args:
        evidence: of a decision.
        asked: names, texts or objects of mixtures, see `mixture_asked`; at most `MOST_ASKED`.
        level: coverage of the intervals, above 0 and below 1.

    Raises:
        MixtureError: a mixture that cannot be read, none or too many, or a level that is none.
    """
    if not 0 < level < 1:
        raise MixtureError(f"{level:g} is not a coverage", where="level", remedy="give one above 0 and below 1, as 0.9")
    if not 0 < len(asked) <= MOST_ASKED:
        raise MixtureError(f"{len(asked)} mixtures", where="mixtures", remedy=f"ask for 1 to {MOST_ASKED}")
    mixtures = [mixture_asked(evidence, each) for each in asked]
    found = predict(evidence, mixtures, level)
    return {
        **_about(evidence),
        "level": level,
        "mixtures": [
            {"asked": text if isinstance(text, str) else None, "mixture": mixture.id, **asdict(each)}
            for text, mixture, each in zip(asked, mixtures, found, strict=True)
        ],
    }


def surface(evidence: Evidence) -> dict[str, Any]:
    """The response surface: domains with their limits and a curve each, targets with how well each is predicted out of
    fold, named mixtures with their predictions, and what a reader must know before acting on it.

    A domain's ``curve`` is the objective as its weight goes from the lowest to the highest that the limits allow and
    the others keep their proportions; ``difference`` is against the chosen mixture.

    Raises:
        LedgerError: the evidence was altered.
    """
    decision, fitted = evidence.decision, evidence.fitted
    named = named_mixtures(evidence)
    rows = {row["domain"]: row for row in decision["domains"]}
    with threadpool_limits(1):
        curves = {name: curve_of(evidence, path_of(evidence, name)) for name in rows if name in evidence.domains}
    kept = ("weight", "prior", "cap", "floor", "low", "high", "sensitivity", "weakly_identified", "epochs")
    return {
        **_about(evidence),
        "level": LEVEL,
        "mixtures_measured": len(fitted.weights),
        "objective": dict(evidence.target_weights),
        "gain": decision["gain"],
        "flags": decision["flags"],
        "domains": [
            {
                "domain": name,
                **{what: row.get(what) for what in kept},
                "highest_measured": float(fitted.weights[:, fitted.domains.index(name)].max()),
                "curve": [{what: point[what] for what in CURVE} for point in curves[name]],
            }
            for name, row in rows.items()
            if name in curves
        ],
        "targets": [
            {
                "target": name,
                "weight": float(evidence.target_weights.get(name, 0.0)),
                "regressor": fitted.chosen[name],
                "scores": [
                    {what: row[what] for what in ("metric", "split", "value", "low", "high")}
                    for row in fitted.scores
                    if row["chosen"] and row["target"] == name
                ],
            }
            for name in fitted.targets
        ],
        "mixtures": [
            {"name": name, "mixture": mixture.id, **asdict(each)}
            for (name, mixture), each in zip(named.items(), predict(evidence, list(named.values())), strict=True)
        ],
    }


def proposals(evidence: Evidence, count: int) -> dict[str, Any]:
    """Mixtures whose measurement is worth most to the decision, as a study's next round is chosen, and what the
    decision may lose without them. Nothing is asked for or trained.

    Args:
        evidence: of a decision.
        count: of mixtures, 1 to `MOST_PROPOSED`; fewer are returned where the limits hold no more.

    Raises:
        MixtureError: the count is out of range.
    """
    if not 1 <= count <= MOST_PROPOSED:
        raise MixtureError(f"{count} mixtures", where="count", remedy=f"ask for 1 to {MOST_PROPOSED}")
    with threadpool_limits(1):
        asked = Acquisition(
            evidence.fitted,
            evidence.region,
            evidence.target_weights,
            evidence.chosen,
            evidence.seed,
            evidence.objective.guardrails,
        )
        picks = asked.batch(count, MixtureSettings().quantum)
        regret = asked.regret(evidence.references["natural"].vector(evidence.domains))
    return {
        **_about(evidence),
        "expected_regret": regret.expected,
        "expected_gain": regret.gain,
        "regret_is_judged": regret.judged,
        "mixtures": [
            {
                "mixture": pick.mixture.id,
                "weights": pick.mixture.weights,
                "predicted": pick.predicted,
                "standard_error": pick.deviation,
                "worth": pick.worth,
            }
            for pick in picks
        ],
    }


def _about(evidence: Evidence) -> dict[str, Any]:
    decision = evidence.decision
    return {
        "study": decision["study"],
        "decision": decision["decision"],
        "decided_at": decision["decided_at"],
        "unit": UNIT,
    }
