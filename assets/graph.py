"""The asset graph: every stage as an asset, with what its declaration says of inputs, partitions, version and group."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import dagster as dg

from regmix_pipeline.assets.catalogue import shown_of
from regmix_pipeline.assets.events import materialize_partitions, plain_failures, unchanged
from regmix_pipeline.assets.hooks import OBSERVED, hooks_of, made_with_hooks
from regmix_pipeline.assets.late import late_partitions, opened
from regmix_pipeline.assets.names import StudyNames
from regmix_pipeline.assets.own_resources import with_own_resources
from regmix_pipeline.assets.questions import check_specs
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.planning.forecast.cap import check_cap
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.stages import STAGES
from regmix_pipeline.study.settings.catalogue import CatalogueSettings

RETRIED = ("token_shards", "phase_checkpoints", "proxy_checkpoints", "proxy_losses", "confirmation")
"""Stages that read from a network or keep what they have done when they end early: trying again goes on from there."""
RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what nobody can act on, such as a connection that broke; errors of the study itself are not retried."""
CAPPED = ("phase_checkpoints", "proxy_checkpoints", "confirmation", "strategy_comparison")
"""Stages that train."""
CAP = {
    "max_new_tokens": dg.Field(
        int, is_required=False, description="Training tokens that this launch may take. Left out: all that it asks."
    )
}


class StaleKeys(Protocol):
    """Says which keys a run makes that has no partitions of its own."""

    def of(
        self, context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage
    ) -> AbstractContextManager[list[str] | None]:
        """The stale keys of a stage, whose step runs inside; None if there is nothing to do."""
        ...


def asset_definitions(
    names: StudyNames, stale_keys: StaleKeys | None = None, settings: CatalogueSettings | None = None
) -> list[dg.AssetsDefinition]:
    """The assets of a study.

    Args:
        names: the study's names.
        stale_keys: says what runs make whose partitions are not known when they are launched. The assets have no
            partitions then: Dagster 1.13 asks for the partitions of a run at its launch, one kind for all its assets.
        settings: what Dagster's catalogue says of them.
    """
    settings = settings or CatalogueSettings()
    stages = STAGES if stale_keys is None else [stage for stage in STAGES if stage.name not in OBSERVED]
    return [
        _observed(stage, names, settings)
        if stage.name in OBSERVED
        else _materialised(stage, names, stale_keys, settings)
        for stage in stages
    ]


def _observed(stage: Stage, names: StudyNames, settings: CatalogueSettings) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        names.asset_key(stage), group_name=names.study, description=stage.description, **shown_of(stage, settings)
    )

    @with_own_resources(names)
    def observe(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> Iterator[dg.Output]:
        with plain_failures():
            OBSERVED[stage.name](context, workspace.open(context.run.run_id))
        yield unchanged(names, stage)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        asset = dg.multi_observable_source_asset(
            name=names.op_name(stage), specs=[spec], partitions_def=names.partitions_of(stage)
        )
        return asset(observe)


def _materialised(
    stage: Stage, names: StudyNames, stale_keys: StaleKeys | None, settings: CatalogueSettings
) -> dg.AssetsDefinition:
    partitions = None if stale_keys else names.partitions_of(stage)
    spec = dg.AssetSpec(
        names.asset_key(stage),
        deps=_upstream(stage, names, partitioned=stale_keys is None),
        skippable=True,
        kinds=set(stage.kinds),
        # One group: where there are several, Dagster's page of the lineage shows them closed at a first visit.
        group_name=names.study,
        code_version=stage.code_version,
        automation_condition=condition(names) if (condition := hooks_of(stage.name).condition) else None,
        description=stage.description,
        **shown_of(stage, settings),
    )

    @dg.multi_asset(
        name=names.op_name(stage),
        specs=[spec],
        check_specs=check_specs(stage, names),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        retry_policy=RETRY if stale_keys is None and stage.name in RETRIED else None,
        config_schema=CAP if stage.name in CAPPED else None,
        # Where Dagster has a choice, steps run in the order of the stages.
        op_tags={"dagster/priority": str(-STAGES.index(stage))},
    )
    @with_own_resources(names)
    def make(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> Iterator[Any]:
        ready = opened(context, workspace, stage)
        if stage.name in CAPPED:
            with plain_failures():
                check_cap(ready, (context.op_execution_context.op_config or {}).get("max_new_tokens"), stage)
        if stale_keys is None:
            keys = late_partitions(context, ready, stage) if partitions else None
            yield from _made(context, ready, stage, keys)
            return
        with stale_keys.of(context, ready, stage) as keys:
            # A stage of which keys were only withdrawn still answers its question: of those that are left.
            if keys or (keys is not None and stage.partitions):
                yield from _made(context, ready, stage, keys)
            else:
                yield unchanged(names, stage)

    return make


def _made(
    context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage, keys: Sequence[str] | None
) -> Iterator[Any]:
    if stage.partitions:
        yield from materialize_partitions(context, workspace, stage, keys or [])
        return
    yield made_with_hooks(context, workspace, stage)


def _upstream(stage: Stage, names: StudyNames, *, partitioned: bool) -> list[dg.AssetDep]:
    """The dependencies of a stage's asset, one for each of ``stage.upstream``.

    Where both sides are partitioned, but by different things, any partition may need any other: a mixture draws on
    domains. Dagster would look for equal keys and refuse to launch. In all other cases its own mapping is right: equal
    keys where both are partitioned by the same, all partitions where only the upstream asset is partitioned.
    """
    kinds = {each.name: each.partitions for each in STAGES}

    def mapping(name: str) -> dg.PartitionMapping | None:
        here, there = stage.partitions, kinds[name]
        return dg.AllPartitionMapping() if partitioned and here and there and here != there else None

    return [dg.AssetDep(names.asset_key(name), partition_mapping=mapping(name)) for name in stage.upstream]
