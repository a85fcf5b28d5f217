"""Who or what started a run, from its tags."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.decisions.verdicts import current_user

BY, WHY = "regmix/by", "regmix/why"
FORCE = "regmix/force"
"""Run tag: ``yes`` computes what the run makes even where it is up to date."""
_AUTOMATIC = {
    "dagster/schedule_name": "schedule",
    "dagster/from_automation_condition": "automation condition",
    "dagster/sensor_name": "sensor",
    "dagster/backfill": "backfill",
}


def triggered_by(run: dg.DagsterRun) -> dict[str, str]:
    """What a decision record states of its run's beginning: through, by, why."""
    tags = run.tags
    if BY in tags:
        return {"through": "regmix", "by": tags[BY], "why": tags.get(WHY, "")}
    for tag, kind in _AUTOMATIC.items():
        if tag in tags:
            return {"through": "Dagster", "by": f"{kind} {tags[tag]}", "why": tags.get(WHY, "")}
    return {"through": "Dagster", "by": tags.get("user", "a person in the Dagster UI"), "why": tags.get(WHY, "")}


def tags_of_command(command: str, why: str) -> dict[str, str]:
    """Tags of a run that a person starts from the command line."""
    return {BY: f"{current_user()}, {command}", WHY: why[:250]}
