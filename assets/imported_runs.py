"""Imported runs: evidence from proxies that were trained elsewhere."""

import dagster as dg

from assets.events import whole_made
from assets.late import opened
from regmix_pipeline.proxies.imports import IMPORTED_RUNS
from resources.lab import LabResource


@dg.asset(kinds={"csv"}, group_name="proxies", code_version=IMPORTED_RUNS.code_version)
def imported_runs(context: dg.AssetExecutionContext, lab: LabResource) -> dg.MaterializeResult:
    """Mixtures and losses of runs trained elsewhere, joined by id; empty when the study imports none."""
    return whole_made(opened(context, lab, IMPORTED_RUNS), IMPORTED_RUNS)
