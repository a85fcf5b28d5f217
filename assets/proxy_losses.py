"""Stage 6, proxy losses: how each proxy does on every target."""

from collections.abc import Iterator

import dagster as dg

from assets.events import partitions_made
from assets.partitions import MIXTURES
from assets.pictures import losses_spread
from regmix_pipeline.ledger import audit
from regmix_pipeline.proxies.stage import PROXY_LOSSES
from resources.lab import LabResource


@dg.multi_asset(
    name="make_proxy_losses",
    specs=[
        dg.AssetSpec(
            "proxy_losses",
            deps=["proxy_checkpoints", "token_shards"],
            skippable=True,
            kinds={"torch", "duckdb"},
            group_name="proxies",
            code_version=PROXY_LOSSES.code_version,
            description="Every target's loss with its standard error, at the end of training and along the way.",
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_loss_is_finite",
            asset="proxy_losses",
            blocking=True,
            description="Every proxy has a finite final loss with a standard error on every target.",
        )
    ],
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="train",
)
def proxy_losses(
    context: dg.AssetExecutionContext, lab: LabResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    """Evaluate the run's proxies, one materialisation per mixture."""
    opened = lab.open(context.run.run_id)
    yield from partitions_made(
        context,
        opened,
        PROXY_LOSSES,
        lambda ledger: audit.losses_complete(ledger, opened.targets),
        "every_loss_is_finite",
        losses_spread,
    )
