"""Stage 3, domain inventory: what there is to mix."""

import dagster as dg

from assets.automation import inputs_changed
from assets.events import whole_made
from assets.late import opened
from assets.pictures import tokens_available
from assets.upstream import upstream
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY
from resources.lab import LabResource


@dg.asset(
    deps=upstream(DOMAIN_INVENTORY),
    kinds={"duckdb"},
    group_name="data",
    code_version=DOMAIN_INVENTORY.code_version,
    automation_condition=inputs_changed(),
)
def domain_inventory(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Tokens available, natural prior, bytes per token and caps of every domain."""
    return whole_made(opened(context, lab, DOMAIN_INVENTORY), DOMAIN_INVENTORY, tokens_available)
