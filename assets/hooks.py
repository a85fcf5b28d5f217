"""What single assets have besides their stage: when they run by themselves, what they show, what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg

from regmix_pipeline.assets.automation import inputs_changed, inputs_there
from regmix_pipeline.assets.changes import decision_before_and_now, mixtures_and_their_cost
from regmix_pipeline.assets.events import materialize_asset, plain_failures
from regmix_pipeline.assets.looks import FEEDBACK, observe_documents, observe_domains, observe_feedback
from regmix_pipeline.assets.marks import named_partitions
from regmix_pipeline.assets.names import StudyNames, names_of
from regmix_pipeline.assets.partitions import register
from regmix_pipeline.assets.pictures import (
    chosen_weights,
    decided,
    larger_models,
    mixtures_shown,
    out_of_fold,
    strategies_compared,
    tokens_available,
)
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import PartitionResult, Stage, Workspace
from regmix_pipeline.mixtures.stage import MIXTURES, current_mixtures
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.search.stage import OPTIMAL_MIXTURE
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON
from regmix_pipeline.tokens.checks_stage import TEXT_CHECKS
from regmix_pipeline.tokens.stage import DOMAIN_INVENTORY, TOKEN_SHARDS, TOKENIZER


@dataclass(frozen=True)
class Hooks:
    """What an asset has besides its stage.

    Attributes:
        condition: the study's names -> when Dagster runs it by itself; None: only when somebody or something asks.
        tables: metadata of a materialisation, from the workspace.
        changes: metadata that compares with the version before.
        before: what happens first, such as observing what feeds back.
        after: what follows once it is made, such as registering partitions.
    """

    condition: Callable[[StudyNames], dg.AutomationCondition] | None = None
    tables: Callable[[Workspace], Mapping[str, Any]] = lambda workspace: {}
    changes: Callable[[Workspace, PartitionResult], Mapping[str, Any]] = lambda workspace, made: {}
    before: Callable[[dg.AssetExecutionContext, Workspace], None] = lambda context, workspace: None
    after: Callable[[dg.AssetExecutionContext, Workspace], None] = lambda context, workspace: None


def _observe_feedback(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    for stage in FEEDBACK:
        observe_feedback(stage, context, workspace)


def _register_mixtures(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    register(context.instance, names_of(workspace).mixtures, list(current_mixtures(workspace)))


def _name_partitions(context: dg.AssetExecutionContext, workspace: Workspace) -> None:
    for named in named_partitions(workspace):
        context.log_event(named)


HOOKS: dict[str, Hooks] = {
    TOKENIZER.name: Hooks(lambda names: inputs_there()),
    TOKEN_SHARDS.name: Hooks(lambda names: inputs_changed()),
    # Documents that changed are not followed: their shards change next.
    TEXT_CHECKS.name: Hooks(lambda names: inputs_changed(names.asset_key(DOMAINS), names.asset_key(TOKEN_SHARDS))),
    DOMAIN_INVENTORY.name: Hooks(lambda names: inputs_changed(), tokens_available),
    MIXTURES.name: Hooks(
        lambda names: inputs_changed(names.asset_key(DOMAIN_INVENTORY)),
        mixtures_shown,
        mixtures_and_their_cost,
        before=_observe_feedback,
        after=_register_mixtures,
    ),
    REGRESSOR.name: Hooks(tables=out_of_fold),
    OPTIMAL_MIXTURE.name: Hooks(tables=chosen_weights),
    MIXTURE_DECISION.name: Hooks(tables=decided, changes=decision_before_and_now, after=_name_partitions),
    CONFIRMATION.name: Hooks(tables=larger_models),
    STRATEGY_COMPARISON.name: Hooks(tables=strategies_compared),
}
"""Stage -> what its asset has besides it; stages that are not named have nothing."""


OBSERVED: dict[str, Callable[[dg.AssetExecutionContext, Workspace], None]] = {
    DOMAINS.name: observe_domains,
    DOCUMENTS.name: observe_documents,
    **{stage.name: partial(observe_feedback, stage) for stage in FEEDBACK},
}
"""Stages whose assets are observed, not materialised."""


def hooks_of(stage_name: str) -> Hooks:
    """What a stage's asset has besides it."""
    return HOOKS.get(stage_name, Hooks())


def made_with_hooks(context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage) -> dg.MaterializeResult:
    """Make a stage that has no partitions, with what happens before and after."""
    hooks = hooks_of(stage.name)
    with plain_failures():
        hooks.before(context, workspace)
    result = materialize_asset(context, workspace, stage, hooks.tables, hooks.changes)
    hooks.after(context, workspace)
    return result
