"""Mixture report: one page for a reader who was not there."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from assets.upstream import upstream
from regmix_pipeline.report.stage import MIXTURE_REPORT
from resources.lab import LabResource


@dg.asset(
    deps=upstream(MIXTURE_REPORT),
    kinds={"plotly"},
    group_name="decision",
    code_version=MIXTURE_REPORT.code_version,
)
def mixture_report(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """One self-contained HTML page: the decision, its certainty, the evidence and the method."""
    return whole_made(opened(context, lab, MIXTURE_REPORT), MIXTURE_REPORT)
