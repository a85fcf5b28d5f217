"""Further mixtures: is the decision stable, and which proxies would settle it?"""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.upstream import upstream
from regmix_pipeline.search.further import FURTHER_MIXTURES
from resources.lab import LabResource


@dg.asset(
    deps=upstream(FURTHER_MIXTURES),
    kinds={"duckdb"},
    group_name="decision",
    code_version=FURTHER_MIXTURES.code_version,
)
def further_mixtures(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Expected regret of the optimal mixture, and the mixtures whose proxies would lower it most; none is trained by
    itself: `regmix refit` and the schedule take them up within the study's budget."""
    return whole_made(opened(context, lab, FURTHER_MIXTURES), FURTHER_MIXTURES)
