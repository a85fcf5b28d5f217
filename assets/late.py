"""What a backfill is made from and could not know of when it was launched.

Dagster settles the partitions of a backfill when it is launched. Partitions that come to be while it runs, all of them
where a study was never run, are made by the first step that needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from assets.events import BACKFILL, partitions_made, plain_failures
from assets.looks import observe_documents, observe_domains
from assets.triggers import triggered_by
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.refit import standing
from regmix_pipeline.stages import STAGES
from resources.lab import LabResource

_LIST = {"domain": DOMAINS, "mixture": MIXTURES}
"""Kind of partition -> the stage that says which there are."""


def opened(context: dg.AssetExecutionContext, lab: LabResource, stage: Stage) -> Lab:
    """The lab for a step that makes ``stage``; in a backfill, once what came late upstream has been made.

    Raises:
        dg.Failure: what came late could not be made.
    """
    ready = lab.open(context.run.run_id)
    ready.triggered = triggered_by(context.run)
    if BACKFILL in context.run.tags:
        with plain_failures():
            _make_late(context, ready, stage)
    return ready


def _make_late(context: dg.AssetExecutionContext, lab: Lab, stage: Stage) -> None:
    backfill = context.instance.get_backfill(context.run.tags[BACKFILL])
    if backfill is None:
        return
    selected = {key.to_user_string() for key in backfill.asset_selection or ()}
    for each in _behind(stage):
        if each is DOMAINS and lab.stale(DOMAINS):
            seen = observe_domains(context, lab)
            tags = {"dagster/data_version": seen.data_version.value} if seen.data_version else {}
            context.log_event(dg.AssetObservation(DOMAINS.name, metadata=seen.metadata, tags=tags))
        elif each is DOCUMENTS and standing(lab, DOCUMENTS).stale:
            observe_documents(context, lab)
        elif each.partitions is not None and each.name in selected and each is not DOCUMENTS:
            names = _LIST[each.partitions]
            # Training is asked for by a click: only where the list itself was part of what was clicked.
            asked = names is DOMAINS or names.name in selected
            record = lab.records.current(names.name)
            if asked and record and datetime.fromisoformat(record.made_at).timestamp() >= backfill.backfill_timestamp:
                _make(context, lab, each, list(lab.stale(each)))


def _make(context: dg.AssetExecutionContext, lab: Lab, stage: Stage, keys: list[str]) -> None:
    """Make partitions of another asset in this step, and tell Dagster of each."""
    if not keys:
        return
    context.log.info(f"{stage.name}: {len(keys)} partitions came to be after the backfill was launched")
    for event in partitions_made(context, lab, stage, keys):
        if isinstance(event, dg.AssetMaterialization):
            context.log_event(event)
        elif isinstance(event, dg.AssetCheckResult) and not event.passed:
            raise dg.Failure(f"{stage.name}: {event.description}", allow_retries=False)


def _behind(stage: Stage) -> Iterator[Stage]:
    """All stages that ``stage`` is made from, directly or not, upstream first."""
    names = {stage.name}
    for each in reversed(STAGES):
        if each.name in names:
            names |= set(each.upstream)
    return (each for each in STAGES if each.name in names and each is not stage)
