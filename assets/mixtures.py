"""Stage 4, mixtures: the points of the simplex that proxies are trained on."""

import dagster as dg

from assets.automation import inputs_changed
from assets.changes import mixtures_and_their_cost
from assets.events import plain_failures, whole_made
from assets.late import opened
from assets.looks import observe_feedback
from assets.partitions import MIXTURES as PARTITIONS
from assets.partitions import register
from assets.pictures import mixtures_shown
from assets.upstream import upstream
from regmix_pipeline.mixtures.adopted import ADOPTED_MIXTURES
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.proxies.finished import FINISHED_PROXIES
from resources.lab import LabResource


@dg.asset(
    deps=upstream(MIXTURES),
    kinds={"numpy"},
    group_name="proxies",
    code_version=MIXTURES.code_version,
    automation_condition=inputs_changed("domain_inventory"),
)
def mixtures(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Mixtures drawn by RegMix's sampler under the caps, and named anchors; each becomes a partition."""
    ready = opened(context, lab, MIXTURES)
    with plain_failures():
        for stage in (FINISHED_PROXIES, ADOPTED_MIXTURES):
            context.log_event(dg.AssetObservation(stage.name, metadata=observe_feedback(ready, stage).metadata))
    result = whole_made(ready, MIXTURES, mixtures_shown, mixtures_and_their_cost)
    register(context.instance, PARTITIONS, list(current_mixtures(ready)))
    return result
