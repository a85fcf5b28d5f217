"""Adopted mixtures: those that somebody asked for, observed; decisions feed back into the mixtures through them."""

import dagster as dg

from assets.events import plain_failures
from assets.looks import observe_feedback
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from resources.lab import LabResource


@dg.observable_source_asset(
    group_name="proxies",
    description="Mixtures proposed after a decision that somebody, or the schedule within its budget, asked for.",
)
def adopted_mixtures(context: dg.OpExecutionContext, lab: LabResource) -> dg.ObserveResult:
    """Look which mixtures were asked for; runs of mixtures look as well."""
    with plain_failures():
        return observe_feedback(lab.open(context.run.run_id), ADOPTED_MIXTURES)
