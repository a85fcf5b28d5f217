"""The mixtures that a decision names: chosen, natural, uniform, best observed, the one before, and given ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regmix_pipeline.decisions.alternatives import beyond_limits
from regmix_pipeline.numbers import finite
from regmix_pipeline.report.data import OBJECTIVE
from regmix_pipeline.report.plots import ROLES, role_of

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor


@dataclass(frozen=True)
class Named:
    """A mixture with a name.

    Attributes:
        name: as in the record's predictions.
        label: as the page calls it.
        weights: by domain.
        origin: where it comes from, as far as the record states, and which limits it breaks.
    """

    name: str
    label: str
    weights: Mapping[str, float]
    origin: str = ""


def named_mixtures(decision: Mapping[str, Any], fitted: FittedRegressor | None) -> list[Named]:
    """The mixtures of a record in the page's order; of an older record, those that its evidence still gives."""
    found: dict[str, tuple[Mapping[str, float], str]] = {}
    domains = decision.get("domains") or ()
    priors = {row["domain"]: prior for row in domains if (prior := finite(row.get("prior"))) is not None}
    if len(priors) == len(domains) > 0:
        found["natural"] = priors, "the tokens available"
        found["uniform"] = dict.fromkeys(priors, 1 / len(priors)), "all domains alike"
    shares = {name: share for name, share in (decision.get("objective") or {}).items() if share}
    if fitted is not None and shares and set(shares) <= set(fitted.targets):
        best = fitted.weights[int((fitted.losses @ fitted.shares(shares)).argmin())]
        weights = dict(zip(fitted.domains, best.tolist(), strict=True))
        found["best_observed"] = weights, "the trained mixture of least measured loss"
    for name, one in (decision.get("alternatives") or {}).items():
        found[name] = one.get("weights") or {}, str(one.get("from") or "")
    if weights := (decision.get("mixture") or {}).get("weights"):
        found["chosen"] = weights, "this decision"
    order = [name for name in (*ROLES, *found) if name in found]
    named = []
    for name in dict.fromkeys(order):
        weights, origin = found[name]
        said = "; ".join(filter(None, (origin, beyond_limits(decision, weights))))
        named.append(Named(name, role_of(name).label, weights, said))
    return named


def alternative_rows(decision: Mapping[str, Any], named: list[Named]) -> list[dict[str, Any]]:
    """A row per named mixture: what it is, its predicted objective, and that minus the chosen mixture's."""
    objective = decision.get("objective") or {}
    keys = (OBJECTIVE, *(objective if len(objective) == 1 else ()))
    predicted = {
        row.get("name"): row
        for key in reversed(keys)
        for row in decision.get("predictions") or ()
        if row.get("target") == key
    }
    chosen = finite((predicted.get("chosen") or {}).get("predicted"))
    rows = []
    for one in named:
        row = predicted.get(one.name) or {}
        value = finite(row.get("predicted"))
        rows.append(
            {
                "mixture": one,
                "predicted": value,
                "low": row.get("low"),
                "high": row.get("high"),
                "by_law": row.get("predicted_by_law"),
                "worse": None if value is None or chosen is None or one.name == "chosen" else value - chosen,
            }
        )
    return rows
