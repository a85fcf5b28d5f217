"""Strategy comparison: ways of choosing a mixture, compared by the models that their choices lead to."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.pictures import strategies_compared
from assets.upstream import upstream
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON
from resources.lab import LabResource


@dg.asset(
    deps=upstream(STRATEGY_COMPARISON),
    kinds={"torch"},
    group_name="decision",
    code_version=STRATEGY_COMPARISON.code_version,
    pool="train",
)
def strategy_comparison(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Strategies choose within one budget, and the target model is trained on each choice: which way of choosing is
    best?"""
    return whole_made(opened(context, lab, STRATEGY_COMPARISON), STRATEGY_COMPARISON, strategies_compared)
