"""Stage 0, domains: which domains the study has now."""

import dagster as dg

from assets.events import plain_failures
from assets.looks import observe_domains
from resources.lab import LabResource


@dg.observable_source_asset(
    group_name="data",
    description="The study's domains and targets, those of its file and the folders under its watched address.",
)
def domains(context: dg.OpExecutionContext, lab: LabResource) -> dg.ObserveResult:
    """Look for domains that came or went, and make each a partition; the sensor `new_domains` does so by itself."""
    with plain_failures():
        return observe_domains(context, lab.open(context.run.run_id))
