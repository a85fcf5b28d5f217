"""The report's tables, shaped for the template: plain rows, no markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regmix_pipeline.numbers import finite
from regmix_pipeline.regression.choice import NESTED
from regmix_pipeline.report.data import OBJECTIVE, MixtureLoss, ReportData, Score, Version
from regmix_pipeline.report.plots import ROLES, role_of


@dataclass(frozen=True)
class Shown:
    """A target on the page: its name in the ledger, what it is called, whether it is (part of) the objective."""

    key: str
    label: str
    in_objective: bool


def shown_targets(decision: Mapping[str, Any], data: ReportData) -> list[Shown]:
    """The objective first, then its targets, then the others; an objective of one target is shown once."""
    objective = decision.get("objective") or {}
    known = {row["target"] for row in decision.get("predictions") or () if "target" in row}
    known |= set(data.losses) | {score.target for score in data.scores} | {row.target for row in data.confirmation}
    known |= set(objective)
    order = [row.source for row in data.inventory]
    names = sorted(known - {OBJECTIVE}, key=lambda name: order.index(name) if name in order else len(order))
    if len(objective) == 1:
        sole = next(iter(objective))
        return [Shown(sole, f"{sole} (objective)", True), *(Shown(name, name, False) for name in names if name != sole)]
    first = [Shown(OBJECTIVE, OBJECTIVE, True)] if OBJECTIVE in known else []
    inside = [Shown(name, f"{name} ({100 * objective[name]:.0f}%)", True) for name in names if name in objective]
    return [*first, *inside, *(Shown(name, name, False) for name in names if name not in objective)]


def pick(by_target: Mapping[str, Any], shown: Shown, targets: Sequence[Shown]) -> Any:
    """The entry of a target; a sole objective may be filed under its own name or as "objective". None when absent."""
    if shown.key in by_target:
        return by_target[shown.key]
    sole = shown.in_objective and sum(target.in_objective for target in targets) == 1
    return by_target.get(OBJECTIVE) if sole else None


def predictions_by_target(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Target -> name -> the prediction's row."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row.get("target")), {})[str(row.get("name"))] = row
    return found


def predicted_roles(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(name, label) of every mixture that the page shows predictions of, the known ones first."""
    names = [str(row.get("name")) for row in rows]
    # The decision before and given mixtures are shown where there are any, the others always.
    shown = [name for name in ROLES if name != "previous" or name in names]
    return [(name, role_of(name).label) for name in dict.fromkeys([*shown, *names])]


def marks_of_limits(domains: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(mark, meaning) of what stands beside a slider; caps and floors only where some domain has one."""
    capped = any((finite(row.get("cap")) or 1.0) < 1 for row in domains)
    floored = any((finite(row.get("floor")) or 0.0) > 0 for row in domains)
    marks = [("tick", "natural")] + [("cap", "cap")] * capped + [("floor", "floor")] * floored
    return [*marks, ("stroke", "highest weight that was trained")]


def main_split(scores: Sequence[Score]) -> str:
    """The split of folds whose scores are shown first: random when there is one."""
    splits = sorted({score.split for score in scores})
    return "random" if "random" in splits or not splits else splits[0]


def scores_of_chosen(scores: Sequence[Score]) -> dict[str, dict[str, Score]]:
    """Target -> metric -> score of the regressor chosen for it, on the main split."""
    split = main_split(scores)
    found: dict[str, dict[str, Score]] = {}
    for score in scores:
        if score.chosen and score.split == split:
            found.setdefault(score.target, {})[score.metric] = score
    return found


def of_regressors(scores: Sequence[Score]) -> list[Score]:
    """The scores of regressors, without those of the choosing itself."""
    return [score for score in scores if not score.regressor.startswith(NESTED)]


def choice_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """A row per target and rule of choice: how well what the rule chose predicts what it was not chosen by."""
    rows = score_rows([score for score in scores if score.regressor.startswith(NESTED)])
    return [row | {"rule": row["regressor"].removeprefix(NESTED)} for row in rows]


def chosen_not_best(scores: Sequence[Score], labels: Mapping[str, str]) -> list[str]:
    """For each target whose chosen regressor is not the best of the column shown: which is, and by what it was passed.

    Args:
        scores: of regressors.
        labels: target -> what it is called on the page.
    """
    lines = []
    by_target: dict[str, dict[str, dict[str, float]]] = {}
    for score in scores:
        if score.metric == "spearman" and score.value is not None:
            by_target.setdefault(score.target, {}).setdefault(score.split, {})[score.regressor] = score.value
    chosen = {score.target: score.regressor for score in scores if score.chosen}
    split = main_split(scores)
    for target, splits in by_target.items():
        here, pick = splits.get(split, {}), chosen.get(target)
        best = max(here, key=lambda name: here[name], default="")
        if pick not in here or target not in labels or here[best] <= here[pick] + 0.005:
            continue
        said = f"{labels[target]}: {best} has {here[best]:.2f} here, {pick}, which was chosen, {here[pick]:.2f}"
        others = [found for name, found in splits.items() if name != split and {best, pick} <= set(found)]
        if others:
            said += f"; on folds of whole regions {others[0][best]:.2f} and {others[0][pick]:.2f}"
        lines.append(said + ".")
    return lines


def score_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """A row per target, regressor and split with its scores by metric, the main split first."""
    split = main_split(scores)
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for score in sorted(scores, key=lambda s: (s.target, s.split != split, s.split, s.regressor)):
        row = rows.setdefault(
            (score.target, score.split, score.regressor),
            {"target": score.target, "split": score.split, "regressor": score.regressor, "chosen": score.chosen},
        )
        row[score.metric] = score
    return list(rows.values())


def spearman_matrix(scores: Sequence[Score]) -> dict[str, dict[str, Score]]:
    """Target -> regressor -> Spearman correlation on the main split."""
    split = main_split(scores)
    found: dict[str, dict[str, Score]] = {}
    for score in scores:
        if score.metric == "spearman" and score.split == split:
            found.setdefault(score.target, {})[score.regressor] = score
    return found


def regressors_by_rank(scores: Sequence[Score]) -> list[str]:
    """Names of all regressors, that of the highest mean Spearman correlation on the main split first."""
    by_name: dict[str, list[float]] = {score.regressor: [] for score in scores}
    for found in spearman_matrix(scores).values():
        for name, score in found.items():
            by_name[name].append(score.value if score.value is not None else -1.0)
    return sorted(by_name, key=lambda name: (-float(np.mean(by_name[name] or [-1.0])), name))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's correlation, ties averaged; None for fewer than 3 pairs or a constant."""
    from scipy.stats import rankdata

    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def correlations(
    losses: Mapping[str, Sequence[MixtureLoss]], weights: Mapping[str, Mapping[str, float]], domains: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Target -> domain -> rank correlation of the domain's weight with the target's loss over all proxies."""
    table: dict[str, dict[str, float | None]] = {}
    for target, items in losses.items():
        known = [item for item in items if item.mixture in weights]
        loss = [item.loss for item in known]
        table[target] = {
            domain: rank_correlation([weights[item.mixture].get(domain, 0.0) for item in known], loss)
            for domain in domains
        }
    return table


def shade(value: float | None) -> str:
    """CSS background of a correlation: blue where more weight goes with a lower loss, orange with a higher one."""
    number = finite(value)
    if number is None:
        return "transparent"
    red, green, blue = (31, 119, 180) if number < 0 else (217, 130, 30)
    return f"rgba({red},{green},{blue},{0.65 * min(1.0, abs(number)):.2f})"


@dataclass(frozen=True)
class LineageRow:
    """A current record with its inputs; many keys of one asset are counted, not listed."""

    place: str
    version: str
    made_at: str
    inputs: list[str]
    decided_with: bool


def lineage_rows(versions: Sequence[Version], decided: Mapping[str, str]) -> list[LineageRow]:
    """Rows of the lineage table; ``decided_with`` marks the versions that the decision names."""
    return [
        LineageRow(v.place, v.version, v.made_at, _gathered(v.inputs), decided.get(v.place) == v.version)
        for v in versions
    ]


def _gathered(inputs: Sequence[tuple[str, str]], most: int = 3) -> list[str]:
    by_asset: dict[str, list[tuple[str, str]]] = {}
    for place, version in inputs:
        by_asset.setdefault(place.split("/", 1)[0], []).append((place, version))
    lines = []
    for asset, items in by_asset.items():
        if len(items) > most:
            lines.append(f"{asset} × {len(items)}")
        else:
            lines += [f"{place} @ {version}" for place, version in items]
    return lines
