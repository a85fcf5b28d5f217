"""Asset checks: what must hold of each stage, looked up in the ledger."""

import dagster as dg

from regmix_pipeline.ledger import audit
from regmix_pipeline.ledger.audit import Finding
from resources.lab import LabResource
from resources.ledger import LedgerResource


def _result(finding: Finding, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        severity=severity,
        description=finding.description,
        metadata=dict(finding.facts),
    )


@dg.asset_check(asset="domain_inventory", blocking=True)
def shards_hold_what_the_inventory_says(lab: LabResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every shard's files have the tokens and the checksum that its manifest and the inventory state."""
    opened = lab.open()
    with ledger.read() as connection:
        return _result(audit.shards_match_inventory(connection, opened.path("shards")))


@dg.asset_check(asset="mixtures", blocking=True)
def weights_sum_to_one_within_caps(lab: LabResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every mixture's weights sum to 1, and sampled ones respect the caps."""
    under_caps = lab.open().study.mixtures.under_caps
    with ledger.read() as connection:
        return _result(audit.mixtures_on_simplex(connection, under_caps=under_caps))


@dg.asset_check(asset="proxy_checkpoints", blocking=True)
def executed_tokens_equal_the_mixture(lab: LabResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every proxy drew each domain within one window of its weight."""
    window = lab.open().study.proxies.model_settings.context
    with ledger.read() as connection:
        return _result(audit.executed_tokens_match(connection, window))


@dg.asset_check(asset="proxy_losses", blocking=True)
def every_loss_is_finite(lab: LabResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Every mixture has a finite final loss with a standard error on every target."""
    with ledger.read() as connection:
        return _result(audit.losses_complete(connection, lab.open().targets))


@dg.asset_check(asset="regressor")
def ranks_mixtures_out_of_fold(lab: LabResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    """The chosen regressor's out-of-fold rank correlation reaches the study's floor on every target that counts."""
    study = lab.open().study
    with ledger.read() as connection:
        finding = audit.rank_correlation(connection, list(study.objective), study.rank_correlation_floor)
        return _result(finding, dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="optimal_mixture", blocking=True)
def optimum_respects_the_limits(ledger: LedgerResource) -> dg.AssetCheckResult:
    """The optimal mixture sums to 1 and keeps every cap and floor."""
    with ledger.read() as connection:
        return _result(audit.optimum_within_limits(connection))


@dg.asset_check(asset="mixture_decision")
def decision_inside_the_sampled_region(ledger: LedgerResource) -> dg.AssetCheckResult:
    """The decision lies in the convex hull of the mixtures that proxies were trained on, or near it."""
    with ledger.read() as connection:
        return _result(audit.inside_sampled_region(connection), dg.AssetCheckSeverity.WARN)
