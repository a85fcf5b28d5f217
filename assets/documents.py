"""Stage 1, documents: what the sources hold now."""

import dagster as dg

from assets.events import plain_failures
from assets.looks import observe_documents
from assets.partitions import SOURCES
from resources.lab import LabResource


@dg.observable_source_asset(
    partitions_def=SOURCES,
    group_name="data",
    description="Every source's documents, observed: the data version is a hash of their content, never of a time.",
)
def documents(context: dg.OpExecutionContext, lab: LabResource) -> dg.DataVersionsByPartition:
    """Observe every source; fetches the demo's corpora when they are not there, and makes each source a partition."""
    with plain_failures():
        observe_documents(context, lab.open(context.run.run_id))
    # The versions are in the events, each beside its metadata: versions returned here would come without.
    return dg.DataVersionsByPartition({})
