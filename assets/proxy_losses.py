"""Stage 6, proxy losses: how each proxy does on every target."""

from collections.abc import Iterator

import dagster as dg

from assets.late import partitions_and_late
from assets.partitions import MIXTURES
from assets.questions import check_specs
from assets.upstream import upstream
from regmix_pipeline.proxies.stage import PROXY_LOSSES
from resources.lab import LabResource


@dg.multi_asset(
    name="make_proxy_losses",
    specs=[
        dg.AssetSpec(
            "proxy_losses",
            deps=upstream(PROXY_LOSSES),
            skippable=True,
            kinds={"torch", "duckdb"},
            group_name="proxies",
            code_version=PROXY_LOSSES.code_version,
            description="Every target's loss with its standard error, at the end of training and along the way.",
        )
    ],
    check_specs=check_specs(PROXY_LOSSES),
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="train",
)
def proxy_losses(
    context: dg.AssetExecutionContext, lab: LabResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult | dg.Output]:
    """Evaluate the run's proxies, one materialisation per mixture."""
    yield from partitions_and_late(context, lab, PROXY_LOSSES)
