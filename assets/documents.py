"""Stage 1, documents: what the sources hold now."""

import dagster as dg

from assets.events import metadata_of, plain_failures
from assets.partitions import SOURCES, register
from regmix_pipeline.documents.stage import DOCUMENTS
from resources.lab import LabResource


@dg.observable_source_asset(
    partitions_def=SOURCES,
    group_name="data",
    description="Every source's documents, observed: the data version is a hash of their content, never of a time.",
)
def documents(context: dg.OpExecutionContext, lab: LabResource) -> dg.DataVersionsByPartition:
    """Observe every source; fetches the demo's corpora when they are not there, and makes each source a partition."""
    opened = lab.open(context.run.run_id)
    with plain_failures():
        for made in opened.materialise(DOCUMENTS):
            if made.error is not None:
                raise made.error
            assert made.record is not None
            tags = {"dagster/data_version": made.record.version}
            context.log_event(
                dg.AssetObservation("documents", partition=made.key, metadata=metadata_of(made), tags=tags)
            )
    register(context.instance, SOURCES, list(opened.study.sources))
    # The versions are in the events above, each beside its metadata: versions returned here would come without.
    return dg.DataVersionsByPartition({})
