"""The pure law as numbers for the page's sliders: any mixture's predicted losses, evaluated where it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regmix_pipeline.numbers import finite
from regmix_pipeline.report.alternatives import Named
from regmix_pipeline.report.data import OBJECTIVE
from regmix_pipeline.report.tables import Shown
from regmix_pipeline.study.phases_of_decision import chosen_together

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

DIGITS = 7
"""Decimals of a trained mixture's weights in the page; only distances are computed from them."""


def explorer(
    fitted: FittedRegressor | None, decision: Mapping[str, Any], targets: Sequence[Shown], named: Sequence[Named]
) -> dict[str, Any] | None:
    """What templates/laws.js and explorer.js need; None without a law they know, or where domains are others.

    Args:
        fitted: the regressors that the decision is based on.
        decision: the decision record.
        targets: targets as the page shows them; the objective comes first.
        named: mixtures that get a button.
    """
    law = fitted.law if fitted else None
    rows = {row["domain"]: row for row in decision.get("domains") or ()}
    # Its sliders are of one mixture: those of several phases would each have to keep the others' sums.
    if fitted is None or law is None or set(rows) != set(fitted.domains) or chosen_together(decision):
        return None
    shown = _rows(fitted, decision, targets)
    if not shown:
        return None
    known = fitted.models[law].learned_
    weights = {one.name: [one.weights.get(domain, 0.0) for domain in fitted.domains] for one in named}
    limits = decision.get("limits") or {}
    return {
        "law": law,
        "theta": known["theta"].tolist(),
        "level": known["level"].tolist(),
        "scale": known["scale"].tolist(),
        "domains": [
            _domain(rows[name], most) for name, most in zip(fitted.domains, fitted.weights.max(axis=0), strict=True)
        ],
        "order": sorted(range(len(rows)), key=lambda j: -(finite(rows[fitted.domains[j]].get("weight")) or 0.0)),
        "rows": shown,
        "mixtures": [
            {"name": one.name, "label": one.label, "weights": weights[one.name]}
            for one in named
            if set(one.weights) <= set(fitted.domains)
        ],
        "trained": np.round(np.unique(fitted.weights, axis=0), DIGITS).tolist(),
        "usual": _usual(fitted),
        "target_tokens": finite(limits.get("target_tokens")),
    }


def _usual(fitted: FittedRegressor) -> float:
    from regmix_pipeline.search.region import usual_distance

    return usual_distance(fitted.weights)


def _domain(row: Mapping[str, Any], most: float) -> dict[str, Any]:
    names = ("prior", "cap", "floor", "available_tokens", "epochs_before")
    return {"name": row["domain"], "most": float(most)} | {name: finite(row.get(name)) for name in names}


def _rows(fitted: FittedRegressor, decision: Mapping[str, Any], targets: Sequence[Shown]) -> list[dict[str, Any]]:
    """A row of the page per target that the law knows: its label, its shares of the law's targets, what was decided."""
    objective = {name: share for name, share in (decision.get("objective") or {}).items() if share}
    decided = {(row.get("name"), row.get("target")): row for row in decision.get("predictions") or ()}
    law_error = {
        row["target"]: finite(row["value"])
        for row in fitted.scores
        if row["regressor"] == fitted.law and row["metric"] == "rmse" and row["split"] == "random"
    }
    rows = []
    for target in targets:
        asked = objective if target.key == OBJECTIVE else {target.key: 1.0}
        if not asked or not set(asked) <= set(fitted.targets):
            continue
        chosen = decided.get(("chosen", target.key)) or (
            decided.get(("chosen", OBJECTIVE)) if target.in_objective and len(objective) == 1 else None
        )
        rows.append(
            {
                "label": target.label,
                "shares": fitted.shares(asked).tolist(),
                "decided": finite((chosen or {}).get("predicted")),
                "rmse": law_error.get(target.key),
            }
        )
    return rows


def disagreement(study: Mapping[str, Any], fitted: FittedRegressor) -> dict[str, float | None]:
    """The law beside the chosen regressors on the page's first row, nats per token.

    Returns:
        ``law`` and ``decided`` at the chosen mixture, and the gain over natural by each; None where not known.
    """
    first, at = study["rows"][0], {one["name"]: np.array([one["weights"]]) for one in study["mixtures"]}
    share = np.array(first["shares"])
    by_law = {name: float((fitted.predict(w, study["law"]) @ share)[0]) for name, w in at.items()}
    chosen = {name: float((fitted.predict(w) @ share)[0]) for name, w in at.items() if name in ("chosen", "natural")}
    both = {"chosen", "natural"} <= set(at)
    return {
        "law": by_law.get("chosen"),
        "decided": chosen.get("chosen") if first["decided"] is None else first["decided"],
        "law_gain": by_law["natural"] - by_law["chosen"] if both else None,
        "decided_gain": chosen["natural"] - chosen["chosen"] if both else None,
    }
