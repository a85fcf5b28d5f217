"""Stage 0, domains: which domains the study has now."""

import dagster as dg

from assets.events import metadata_of, plain_failures
from assets.partitions import SOURCES, register
from regmix_pipeline.documents.domains import DOMAINS, look_around
from resources.lab import LabResource


@dg.observable_source_asset(
    group_name="data",
    description="The study's domains and targets, those of its file and the folders under its watched address.",
)
def domains(context: dg.OpExecutionContext, lab: LabResource) -> dg.ObserveResult:
    """Look for domains that came or went, and make each a partition; the sensor `new_domains` does so by itself."""
    opened = lab.open(context.run.run_id)
    with plain_failures():
        (made,) = opened.materialise(DOMAINS)
        for line in look_around(opened).lines:
            context.log.warning(line)
    assert made.record is not None
    register(context.instance, SOURCES, list(opened.study.sources))
    return dg.ObserveResult(data_version=dg.DataVersion(made.record.version), metadata=metadata_of(made))
