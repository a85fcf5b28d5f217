"""Earlier runs: proxies trained when the study had other domains, as evidence in today's terms."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.upstream import upstream
from regmix_pipeline.proxies.earlier_stage import EARLIER_RUNS
from resources.lab import LabResource


@dg.asset(
    deps=upstream(EARLIER_RUNS),
    kinds={"torch"},
    group_name="proxies",
    code_version=EARLIER_RUNS.code_version,
)
def earlier_runs(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Proxies of withdrawn, split or merged domains, measured on today's targets; each with the rule it was kept by."""
    return whole_made(opened(context, lab, EARLIER_RUNS), EARLIER_RUNS)
