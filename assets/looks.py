"""Observing what is outside the pipeline: which domains there are and what their documents hold, reported to
Dagster."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.assets.events import metadata_of
from regmix_pipeline.assets.names import asset_key, names_of
from regmix_pipeline.assets.partitions import register
from regmix_pipeline.documents.domains import DOMAINS, scan_watched
from regmix_pipeline.documents.resolve import uri_of
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import PartitionResult, Stage, Workspace
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.proxies.finished import FINISHED_PROXIES

FEEDBACK = (FINISHED_PROXIES, ADOPTED_MIXTURES)
"""Stages that observe what later stages and people leave for the mixtures."""


def observe_domains(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    """Look for domains that came or went, and make each a partition.

    Raises:
        RegmixError: an address cannot be listed.
    """
    (made,) = workspace.materialise(DOMAINS)
    for line in scan_watched(workspace).lines:
        context.log.warning(line)
    context.log_event(observation(workspace, DOMAINS, made))
    register(context.instance, names_of(workspace).sources, list(workspace.study.sources))


def observe_documents(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    """Observe every source, one event each; fetches corpora that are not there, and makes each source a partition.

    Raises:
        RegmixError: a source cannot be read.
    """
    for made in workspace.materialise(DOCUMENTS):
        if made.error is not None:
            raise made.error
        context.log_event(observation(workspace, DOCUMENTS, made))
    register(context.instance, names_of(workspace).sources, list(workspace.study.sources))


def observe_feedback(stage: Stage, context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    """Observe what feeds back into the mixtures."""
    found = [observation(workspace, stage, made) for made in workspace.materialise(stage)]
    absent = dg.AssetObservation(asset_key(workspace, stage), metadata={"not part of this study": True})
    for each in found or [absent]:
        context.log_event(each)


def observation(workspace: Workspace, stage: Stage, made: PartitionResult, **metadata: str) -> dg.AssetObservation:
    """What was observed of a stage, as an event; ``metadata`` besides what its record states.

    Of what feeds back Dagster gets no data version: only a part may matter to the mixtures, and their own recipe says
    which.
    """
    assert made.record is not None
    shown = metadata_of(made) | metadata
    if stage is DOCUMENTS:
        _, source = workspace.study.sources[made.key]
        shown["dagster/uri"] = uri_of(source, workspace.base, workspace.data)
    return dg.AssetObservation(
        asset_key(workspace, stage),
        partition=made.key if stage.partitions else None,
        metadata=shown,
        tags={} if stage in FEEDBACK else {"dagster/data_version": made.record.version},
    )
