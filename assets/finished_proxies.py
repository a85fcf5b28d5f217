"""Finished proxies: those on disk, observed; what was trained before feeds back into the mixtures through them."""

import dagster as dg

from assets.events import plain_failures
from assets.looks import observe_feedback
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from resources.lab import LabResource


@dg.observable_source_asset(
    group_name="proxies",
    description="Proxies that were trained to their end and are on disk, of today's mixtures and of earlier ones.",
)
def finished_proxies(context: dg.OpExecutionContext, lab: LabResource) -> dg.ObserveResult:
    """Look which proxies are on disk; runs of mixtures and of proxy_checkpoints look as well."""
    with plain_failures():
        return observe_feedback(lab.open(context.run.run_id), FINISHED_PROXIES)
