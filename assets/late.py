"""What a backfill is made from and could not know of when it was launched.

Dagster settles the partitions of a backfill when it is launched. Partitions that come to be while it runs, all of them
where a study was never run, are made by the first step that needs them. The rounds of a study are among them: where the
backfill was launched for all that a round takes, the step that decides makes those that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from regmix_pipeline.assets.events import BACKFILL, materialize_partitions, plain_failures
from regmix_pipeline.assets.hooks import made_with_hooks
from regmix_pipeline.assets.looks import observe_documents, observe_domains
from regmix_pipeline.assets.names import asset_key
from regmix_pipeline.assets.triggers import FORCE, triggered_by
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.mixtures.rounds import next_round
from regmix_pipeline.mixtures.stage import MIXTURES
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.search.further import take_round
from regmix_pipeline.stages import FIT, behind
from regmix_pipeline.status import study_status
from regmix_pipeline.tokens.stage import TOKEN_SHARDS

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill

_LIST = {"domain": DOMAINS, "mixture": MIXTURES}
"""Kind of partition -> the stage that says which there are."""


def opened(context: dg.AssetExecutionContext, workspace: WorkspaceResource, stage: Stage) -> Workspace:
    """The workspace for a step that makes ``stage``; in a backfill, once what came late upstream has been made.

    Raises:
        dg.Failure: what came late could not be made.
    """
    ready, backfill = _opened(context, workspace, stage), _backfill(context)
    if backfill is not None:
        with plain_failures():
            _make_late(context, ready, stage, backfill)
            if stage is MIXTURE_DECISION and _are_rounds_selected(ready, backfill):
                while take_round(ready, f"backfill {backfill.backfill_id}").asked:
                    _make_round(context, lambda: _opened(context, workspace, stage))
                    ready = _opened(context, workspace, stage)
    return ready


def _opened(context: dg.AssetExecutionContext, workspace: WorkspaceResource, stage: Stage) -> Workspace:
    ready = workspace.open(context.run.run_id)
    ready.triggered = triggered_by(context.run)
    if context.run.tags.get(FORCE) == "yes":
        ready.forced = frozenset([stage.name])
    return ready


def late_partitions(context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage) -> list[str]:
    """The partitions of a step that makes ``stage``: those of its run, and in a backfill those that came late."""
    keys, backfill = list(context.partition_keys), _backfill(context)
    if backfill is not None:
        with plain_failures():
            keys += [key for key in _late(workspace, stage, backfill) if key not in keys]
    return keys


def _backfill(context: dg.AssetExecutionContext) -> PartitionBackfill | None:
    """The backfill that the step is part of."""
    return context.instance.get_backfill(context.run.tags[BACKFILL]) if BACKFILL in context.run.tags else None


def _make_late(
    context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage, backfill: PartitionBackfill
) -> None:
    for each in behind(stage):
        if each is DOMAINS and workspace.stale(DOMAINS):
            seen = observe_domains(context, workspace)
            tags = {"dagster/data_version": seen.data_version.value} if seen.data_version else {}
            context.log_event(dg.AssetObservation(asset_key(workspace, DOMAINS), metadata=seen.metadata, tags=tags))
        elif each is DOCUMENTS and study_status(workspace, DOCUMENTS).stale:
            observe_documents(context, workspace)
        elif each.partitions is not None:
            late = _late(workspace, each, backfill)
            if each is TOKEN_SHARDS and _is_selected(workspace, each, backfill):
                # Without them the step would fail.
                late += [
                    key for key in each.expected_recipes(workspace) if workspace.records.current(each.name, key) is None
                ]
            _make(context, workspace, each, list(dict.fromkeys(late)))
        elif _is_selected(workspace, each, backfill) and workspace.stale(each):
            # Without partitions between them, Dagster knows no order of the two; or its own step has ended, and what it
            # was made from changed since, as when a sensor asks for the next round's mixtures.
            _make_whole(context, workspace, each)


def _are_rounds_selected(workspace: Workspace, backfill: PartitionBackfill) -> bool:
    """Whether rounds are left, and the backfill was launched for all that they take."""
    wanted = [stage for stage in (MIXTURES, PROXY_CHECKPOINTS, PROXY_LOSSES, *FIT) if stage.expected_recipes(workspace)]
    return next_round(workspace) is not None and all(_is_selected(workspace, stage, backfill) for stage in wanted)


def _make_round(context: dg.AssetExecutionContext, opened_again: Callable[[], Workspace]) -> None:
    """Train and measure the round that was asked for last, and fit and propose again; each asset is reported."""
    for stage in (MIXTURES, PROXY_CHECKPOINTS, PROXY_LOSSES, *FIT):
        workspace = opened_again()
        if stage.partitions is not None:
            _make(context, workspace, stage, list(workspace.stale(stage)))
        elif workspace.stale(stage):
            _make_whole(context, workspace, stage)


def _late(workspace: Workspace, stage: Stage, backfill: PartitionBackfill) -> list[str]:
    """Partitions that are to be made and that the backfill could not know of when it was launched.

    Training is asked for by a click: only where the list of mixtures itself was part of what was clicked.
    """
    if stage.partitions is None or stage is DOCUMENTS or not _is_selected(workspace, stage, backfill):
        return []
    names = _LIST[stage.partitions]
    record = workspace.records.current(names.name)
    if record is None or (names is MIXTURES and not _is_selected(workspace, names, backfill)):
        return []
    # Records have whole seconds.
    since = datetime.fromisoformat(record.made_at).timestamp() >= int(backfill.backfill_timestamp)
    return list(workspace.stale(stage)) if since else []


def _is_selected(workspace: Workspace, stage: Stage, backfill: PartitionBackfill) -> bool:
    """Whether the backfill was launched for a stage's asset, among others."""
    return asset_key(workspace, stage) in (backfill.asset_selection or ())


def _make_whole(context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage) -> None:
    """Make another asset without partitions in this step, with what follows from it, and report it to Dagster."""
    made = made_with_hooks(context, workspace, stage)
    tags = {"dagster/data_version": made.data_version.value} if made.data_version else {}
    context.log_event(dg.AssetMaterialization(asset_key(workspace, stage), metadata=made.metadata, tags=tags))


def _make(context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage, keys: list[str]) -> None:
    """Make partitions of another asset in this step, and report each to Dagster."""
    if not keys:
        return
    context.log.info(f"{stage.name}: {len(keys)} partitions came to be after the backfill was launched")
    for event in materialize_partitions(context, workspace, stage, keys):
        if isinstance(event, dg.AssetMaterialization):
            context.log_event(event)
        elif isinstance(event, dg.AssetCheckResult) and not event.passed:
            raise dg.Failure(f"{stage.name}: {event.description}", allow_retries=False)
