"""Stage 7, regressor: loss as a function of the mixture."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.pictures import out_of_fold
from assets.upstream import upstream
from regmix_pipeline.regression.stage import REGRESSOR
from resources.lab import LabResource


@dg.asset(
    deps=upstream(REGRESSOR),
    kinds={"lightgbm", "scikitlearn"},
    group_name="decision",
    code_version=REGRESSOR.code_version,
)
def regressor(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """What predicts each target's loss from the mixture, chosen by cross-validation on rows it did not see."""
    return whole_made(opened(context, lab, REGRESSOR), REGRESSOR, out_of_fold)
