"""Observing what is outside the pipeline: which domains there are and what their documents hold, reported to
Dagster."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.assets.events import metadata_of
from regmix_pipeline.assets.names import asset_key, names_of
from regmix_pipeline.assets.partitions import register
from regmix_pipeline.documents.domains import DOMAINS, scan_watched
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import PartitionResult, Stage, Workspace
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.proxies.finished import FINISHED_PROXIES

FEEDBACK = (FINISHED_PROXIES, ADOPTED_MIXTURES)
"""Stages that observe what later stages and people leave for the mixtures."""
Context = dg.OpExecutionContext | dg.AssetExecutionContext


def observe_domains(context: Context, workspace: Workspace) -> dg.ObserveResult:
    """Look for domains that came or went, and make each a partition.

    Raises:
        RegmixError: an address cannot be listed.
    """
    (made,) = workspace.materialise(DOMAINS)
    for line in scan_watched(workspace).lines:
        context.log.warning(line)
    assert made.record is not None
    register(context.instance, names_of(workspace).sources, list(workspace.study.sources))
    return dg.ObserveResult(data_version=dg.DataVersion(made.record.version), metadata=metadata_of(made))


def observe_documents(context: Context, workspace: Workspace) -> dg.DataVersionsByPartition:
    """Observe every source, one event each; fetches corpora that are not there, and makes each source a partition.

    Raises:
        RegmixError: a source cannot be read.
    """
    for made in workspace.materialise(DOCUMENTS):
        if made.error is not None:
            raise made.error
        context.log_event(observation(workspace, DOCUMENTS, made))
    register(context.instance, names_of(workspace).sources, list(workspace.study.sources))
    # The versions are in the events, each beside its metadata: versions returned here would come without.
    return dg.DataVersionsByPartition({})


def observe_feedback(workspace: Workspace, stage: Stage) -> dg.ObserveResult:
    """Observe what feeds back into the mixtures. Dagster gets no data version: of what is observed, only a part may
    matter to the mixtures, and their own recipe says which."""
    for made in workspace.materialise(stage):
        return dg.ObserveResult(metadata=metadata_of(made))
    return dg.ObserveResult(metadata={"not part of this study": True})


def observation(workspace: Workspace, stage: Stage, made: PartitionResult, **metadata: str) -> dg.AssetObservation:
    """What was observed of a stage, as an event; ``metadata`` besides what its record states."""
    assert made.record is not None
    return dg.AssetObservation(
        asset_key(workspace, stage),
        partition=made.key if stage.partitions else None,
        metadata={**metadata_of(made), **metadata},
        tags={} if stage in FEEDBACK else {"dagster/data_version": made.record.version},
    )
