"""Stage 9, mixture decision: what was chosen, and from what."""

import dagster as dg

from assets.changes import decision_before_and_now
from assets.events import whole_made
from assets.late import opened
from assets.marks import named_partitions
from assets.pictures import decided
from assets.upstream import upstream
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from resources.lab import LabResource


@dg.asset(
    deps=upstream(MIXTURE_DECISION),
    kinds={"yaml", "duckdb"},
    group_name="decision",
    code_version=MIXTURE_DECISION.code_version,
)
def mixture_decision(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """What was chosen, from which upstream versions, beside natural and uniform."""
    ready = opened(context, lab, MIXTURE_DECISION)
    result = whole_made(ready, MIXTURE_DECISION, decided, decision_before_and_now)
    for observation in named_partitions(ready):
        context.log_event(observation)
    return result
