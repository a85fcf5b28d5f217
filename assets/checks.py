"""Asset checks: what must hold of each stage, looked up in the files on record.

The checks of `proxy_checkpoints` and `proxy_losses` are in the assets themselves: Dagster skips a separate check after
an asset that reports its partitions one by one.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import dagster as dg

from regmix_pipeline import checks
from regmix_pipeline.assets.events import blocking_result, check_result, plain_failures
from regmix_pipeline.assets.names import StudyNames
from regmix_pipeline.assets.own_resources import with_own_resources
from regmix_pipeline.resources.ledger import LedgerResource
from regmix_pipeline.resources.workspace import WorkspaceResource

CHECKS: list[Callable[[StudyNames], dg.AssetChecksDefinition]] = []
"""What makes each check, for a study's names."""


def _check(stage: str, *, blocking: bool = False) -> Callable[..., Any]:
    """Register a function as a check of a stage's asset."""

    def register(function: Callable[..., dg.AssetCheckResult]) -> Callable[..., dg.AssetCheckResult]:
        def made(names: StudyNames) -> dg.AssetChecksDefinition:
            check = with_own_resources(names)(_readable(function))
            return dg.asset_check(asset=names.asset_key(stage), blocking=blocking)(check)

        CHECKS.append(made)
        return function

    return register


def _readable(check: Callable[..., dg.AssetCheckResult]) -> Callable[..., dg.AssetCheckResult]:
    """The same check, of which an error that the user can act on shows its text alone."""

    @wraps(check)
    def readable(**given: Any) -> dg.AssetCheckResult:
        with plain_failures():
            return check(**given)

    return readable


def method_checks(names: StudyNames) -> list[dg.AssetChecksDefinition]:
    """The checks of a study's assets."""
    return [make(names) for make in CHECKS]


@_check("domain_inventory", blocking=True)
def shards_hold_what_the_inventory_says(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every shard's files have the tokens and the checksum that its manifest and the inventory state."""
    opened = workspace.open()
    with ledger.read("domain_inventory", "domain_inventory") as connection:
        finding = checks.shards_match_inventory(connection, opened.path("shards"))
    return blocking_result(opened, finding, "domain_inventory")


@_check("mixtures", blocking=True)
def weights_sum_to_one_within_caps(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every mixture's weights sum to 1, and drawn ones respect the caps that held when they were drawn."""
    opened = workspace.open()
    with ledger.read("mixtures", "mixtures", "domain_inventory", ever=["domain_inventory"]) as connection:
        finding = checks.mixtures_on_simplex(connection)
    return blocking_result(opened, finding, "mixtures")


@_check("regressor")
def ranks_mixtures_out_of_fold(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """The chosen regressor's out-of-fold rank correlation reaches the study's floor on every target that counts."""
    study = workspace.open().study
    with ledger.read("regressor", "regressor_scores") as connection:
        finding = checks.rank_correlation(connection, list(study.objective), study.rank_correlation_floor)
        return check_result(finding, dg.AssetCheckSeverity.WARN)


@_check("regressor")
def intervals_hold_what_they_promise(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Prediction intervals cover the losses of mixtures they did not see about as often as they say."""
    study = workspace.open().study
    with ledger.read("regressor", "regressor_scores", "out_of_fold") as connection:
        finding = checks.interval_coverage(connection, list(study.objective), study.regression.level)
        return check_result(finding, dg.AssetCheckSeverity.WARN)


@_check("optimal_mixture", blocking=True)
def optimum_respects_the_limits(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """The optimal mixture sums to 1 and keeps every cap and floor."""
    with ledger.read("optimal_mixture", "optimal_mixture") as connection:
        finding = checks.optimum_within_limits(connection)
    return blocking_result(workspace.open(), finding, "optimal_mixture")


@_check("mixture_decision")
def no_target_text_is_trained_on(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """The targets' validation text is not in the domains' training text, up to the study's shares."""
    with ledger.read("mixture_decision", "text_overlap") as connection:
        finding = checks.targets_not_trained_on(connection, workspace.open().study.text_checks)
        return check_result(finding, dg.AssetCheckSeverity.WARN)


@_check("mixture_decision")
def the_tokenizer_knows_the_text(workspace: WorkspaceResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """The tokenizer gives back the sources' text, up to the study's share."""
    with ledger.read("mixture_decision", "tokenizer_coverage") as connection:
        finding = checks.tokenizer_covers(connection, workspace.open().study.text_checks)
        return check_result(finding, dg.AssetCheckSeverity.WARN)


@_check("mixture_decision")
def decision_inside_the_sampled_region(ledger: LedgerResource) -> dg.AssetCheckResult:
    """The decision is no farther from the trained mixtures than these usually are from each other."""
    with ledger.read("mixture_decision", "optimal_mixture", "mixtures") as connection:
        return check_result(checks.inside_sampled_region(connection), dg.AssetCheckSeverity.WARN)
