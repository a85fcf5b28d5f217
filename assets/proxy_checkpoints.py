"""Stage 5, proxy checkpoints: a small model for every mixture."""

from collections.abc import Iterator

import dagster as dg

from assets.late import partitions_and_late
from assets.partitions import MIXTURES
from assets.questions import check_specs
from assets.upstream import upstream
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from resources.lab import LabResource


@dg.multi_asset(
    name="make_proxy_checkpoints",
    specs=[
        dg.AssetSpec(
            "proxy_checkpoints",
            deps=upstream(PROXY_CHECKPOINTS),
            skippable=True,
            kinds={"torch"},
            group_name="proxies",
            code_version=PROXY_CHECKPOINTS.code_version,
            description="Small models trained on a mixture, one per seed, and the tokens they drew from each domain.",
        )
    ],
    check_specs=check_specs(PROXY_CHECKPOINTS),
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="train",
)
def proxy_checkpoints(
    context: dg.AssetExecutionContext, lab: LabResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult | dg.Output]:
    """Train the run's proxies, one materialisation per mixture as it ends."""
    yield from partitions_and_late(context, lab, PROXY_CHECKPOINTS)
