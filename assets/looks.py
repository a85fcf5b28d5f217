"""Looking at the world outside: which domains there are and what their documents hold, told to Dagster."""

from __future__ import annotations

import dagster as dg

from assets.events import metadata_of
from assets.partitions import SOURCES, register
from regmix_pipeline.documents.domains import DOMAINS, look_around
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.lab import Lab, Stage

Context = dg.OpExecutionContext | dg.AssetExecutionContext


def observe_domains(context: Context, lab: Lab) -> dg.ObserveResult:
    """Look for domains that came or went, and make each a partition.

    Raises:
        RegmixError: an address cannot be listed.
    """
    (made,) = lab.materialise(DOMAINS)
    for line in look_around(lab).lines:
        context.log.warning(line)
    assert made.record is not None
    register(context.instance, SOURCES, list(lab.study.sources))
    return dg.ObserveResult(data_version=dg.DataVersion(made.record.version), metadata=metadata_of(made))


def observe_documents(context: Context, lab: Lab) -> None:
    """Observe every source, one event each; fetches corpora that are not there, and makes each source a partition.

    Raises:
        RegmixError: a source cannot be read.
    """
    for made in lab.materialise(DOCUMENTS):
        if made.error is not None:
            raise made.error
        assert made.record is not None
        tags = {"dagster/data_version": made.record.version}
        context.log_event(dg.AssetObservation("documents", partition=made.key, metadata=metadata_of(made), tags=tags))
    register(context.instance, SOURCES, list(lab.study.sources))


def observe_feedback(lab: Lab, stage: Stage) -> dg.ObserveResult:
    """Observe what feeds back into the mixtures. Dagster gets no data version: of what is observed, only a part may
    matter to the mixtures, and their own recipe says which."""
    for made in lab.materialise(stage):
        return dg.ObserveResult(metadata=metadata_of(made))
    return dg.ObserveResult(metadata={"not part of this study": True})
