"""Stage 2, token shards: each source's documents as tokens."""

from collections.abc import Iterator

import dagster as dg

from assets.automation import inputs_changed
from assets.late import partitions_and_late
from assets.partitions import SOURCES
from assets.upstream import upstream
from regmix_pipeline.tokens.stage import TOKEN_SHARDS
from resources.lab import LabResource


@dg.multi_asset(
    name="make_token_shards",
    specs=[
        dg.AssetSpec(
            "token_shards",
            deps=upstream(TOKEN_SHARDS),
            skippable=True,
            kinds={"datatrove"},
            group_name="data",
            code_version=TOKEN_SHARDS.code_version,
            automation_condition=inputs_changed(),
            description="A source's distinct documents as tokens, training and validation split by hash of the text.",
        )
    ],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="tokenise",
)
def token_shards(
    context: dg.AssetExecutionContext, lab: LabResource
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult | dg.Output]:
    """Tokenise the run's sources, one materialisation each."""
    yield from partitions_and_late(context, lab, TOKEN_SHARDS)
