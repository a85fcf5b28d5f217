"""Asking for a run on behalf of what is stale: once, once more when it failed, and not while one is going."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from regmix_pipeline.assets.names import stage_name
from regmix_pipeline.assets.partitions import backfills_going
from regmix_pipeline.assets.triggers import WHY
from regmix_pipeline.files import fingerprint

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TRIES = 2
"""Runs asked for the same thing before a person has to look."""


def ask(
    context: dg.SensorEvaluationContext,
    wanted: Any,
    assets: Sequence[dg.AssetKey],
    why: str,
    tags: Mapping[str, str] | None = None,
) -> dg.SensorResult:
    """A request for one run of ``assets``, or why none is made.

    There is no run key: keys drop equal requests forever. What was asked, and how often, is in the cursor.

    Args:
        context: of the sensor.
        wanted: what the run is to bring about, JSON-able; asked for at most `TRIES` times.
        assets: keys of the assets to run.
        why: one line, shown with the run.
        tags: further tags of the run.
    """
    going = running(context.instance, assets)
    if going is not None:
        return dg.SensorResult(skip_reason=f"{why} · {going} is already running")
    asked = {"asked": fingerprint(wanted), "tries": 1}
    before = json.loads(context.cursor) if context.cursor else {}
    if before.get("asked") == asked["asked"]:
        if before["tries"] >= TRIES:
            return dg.SensorResult(
                skip_reason=f"{why} · requested {TRIES} times without success: see the failed runs, fix the cause, "
                f"and materialise "
                f"{', '.join(map(stage_name, assets))} by hand"
            )
        asked["tries"] = before["tries"] + 1
    request = dg.RunRequest(asset_selection=list(assets), tags={**(tags or {}), WHY: why[:250]})
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asked))


def running(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey]) -> str | None:
    """The run or backfill that makes one of ``assets`` and has not ended: "run 1b0d7063", "backfill hfudyosw".

    A backfill makes partitions that came late in steps of other assets, so its runs do not name them. A second run of
    the same partitions would also meet a race of Dagster 1.13: its cache of partitions that were materialised loses
    those that are reported while a run that plans them is created.
    """
    keys = set(assets)
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if keys & set(run.asset_selection or ()):
            return f"run {run.run_id[:8]}"
    for backfill in backfills_going(instance):
        if keys & set(backfill.asset_selection or ()):
            return f"backfill {backfill.backfill_id}"
    return None
