"""Stage 5, proxy checkpoints: a small model for every mixture."""

from collections.abc import Iterator

import dagster as dg

from assets.events import partitions_made
from assets.partitions import MIXTURES
from regmix_pipeline.ledger import audit
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS
from resources.lab import LabResource


@dg.multi_asset(
    name="make_proxy_checkpoints",
    specs=[
        dg.AssetSpec(
            "proxy_checkpoints",
            deps=["mixtures", "token_shards"],
            skippable=True,
            kinds={"torch"},
            group_name="proxies",
            code_version=PROXY_CHECKPOINTS.code_version,
            description="Small models trained on a mixture, one per seed, and the tokens they drew from each domain.",
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "executed_tokens_equal_the_mixture",
            asset="proxy_checkpoints",
            blocking=True,
            description="Every proxy drew each domain within one window of its weight.",
        )
    ],
    partitions_def=MIXTURES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="train",
)
def proxy_checkpoints(
    context: dg.AssetExecutionContext, lab: LabResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    """Train the run's proxies, one materialisation per mixture as it ends."""
    opened = lab.open(context.run.run_id)
    proxies = opened.study.proxies
    slack = proxies.training_settings.slack(proxies.model_settings.context)
    yield from partitions_made(
        context,
        opened,
        PROXY_CHECKPOINTS,
        lambda ledger: audit.executed_tokens_match(ledger, slack),
        "executed_tokens_equal_the_mixture",
    )
