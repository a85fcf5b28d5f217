"""Stage 8, optimal mixture: the best point under the limits."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.pictures import chosen_weights
from assets.upstream import upstream
from regmix_pipeline.search.stage import OPTIMAL_MIXTURE
from resources.lab import LabResource


@dg.asset(
    deps=upstream(OPTIMAL_MIXTURE),
    kinds={"scipy", "duckdb"},
    group_name="decision",
    code_version=OPTIMAL_MIXTURE.code_version,
)
def optimal_mixture(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """The mixture with the lowest predicted objective under caps and floors."""
    return whole_made(opened(context, lab, OPTIMAL_MIXTURE), OPTIMAL_MIXTURE, chosen_weights)
