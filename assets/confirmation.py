"""Confirmation: larger models on the chosen, the natural and the uniform mixture."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.pictures import larger_models
from assets.upstream import upstream
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from resources.lab import LabResource


@dg.asset(
    deps=upstream(CONFIRMATION),
    kinds={"torch"},
    group_name="decision",
    code_version=CONFIRMATION.code_version,
    pool="train",
)
def confirmation(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Larger models, trained for longer on the chosen, the natural and the uniform mixture: did the prediction hold?"""
    return whole_made(opened(context, lab, CONFIRMATION), CONFIRMATION, larger_models)
