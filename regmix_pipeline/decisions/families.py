"""Families of targets in a decision: each family's macro average, and its members below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regmix_pipeline.study.settings.targets import shares_within
from regmix_pipeline.study.study import Study


def family_rows(
    study: Study, objective: Mapping[str, float], predictions: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row a family: family, weight, share (of the objective), targets (member -> its share of the macro average) and
    predicted (name of a mixture -> macro average of its members' predicted losses, nats per token).

    Args:
        study: whose families they are.
        objective: target -> share that was searched.
        predictions: rows of the search, by name and target.
    """
    losses: dict[str, dict[str, float]] = {}
    for row in predictions:
        losses.setdefault(row["name"], {})[row["target"]] = row["predicted"]
    rows = []
    for name, family in study.families.items():
        # Without a weight of its own, a family is an average of equals.
        members = shares_within(family, study.targets) or {each: 1 / len(family.targets) for each in family.targets}
        rows.append(
            {
                "family": name,
                "weight": family.weight,
                "share": sum(objective.get(each, 0.0) for each in members),
                "targets": members,
                "predicted": {
                    mixture: sum(share * found[each] for each, share in members.items())
                    for mixture, found in losses.items()
                    if set(members) <= set(found)
                },
            }
        )
    return rows
