"""The check `up_to_date` of every asset: stale by the study's own fingerprints, and why.

Dagster calls an asset green once it was materialised. The check says whether it still is what the study asks for. Runs
evaluate it after each materialisation, and the sensor `stale_assets` whenever the answer has changed. Each partition
that becomes stale gets an observation with the reason as well.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from regmix_pipeline.assets.asking import UNFINISHED
from regmix_pipeline.assets.names import StudyNames, asset_key
from regmix_pipeline.assets.own_resources import with_own_resources
from regmix_pipeline.assets.pictures import table
from regmix_pipeline.engine.records import Record
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.stages import STAGES, behind
from regmix_pipeline.status import StudyStatus, in_words, study_status

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

NAME = "up_to_date"
STALE = "regmix/stale"
"""Tag of observations: yes, or no once a partition is up to date again without having been made."""
_REASONS = "reasons"
_LOOKED_AT = 5
"""Executions of a check that are searched for the last one with an answer."""


def up_to_date_checks(names: StudyNames) -> list[dg.AssetChecksDefinition]:
    """One check for every stage's asset: a warning, which stops nothing."""
    return [_check(stage, names) for stage in STAGES]


def _check(stage: Stage, names: StudyNames) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=names.asset_key(stage),
        name=NAME,
        description="Still what the study, its inputs and its code ask for; if not, why.",
    )
    @with_own_resources(names)
    def check(context: dg.AssetCheckExecutionContext, workspace: WorkspaceResource) -> dg.AssetCheckResult:
        opened = workspace.open()
        said = answer(opened, stage, study_status(opened, *behind(stage), stage))
        for observation in observations(opened, stage, said, _last_answer(context.instance, opened, stage)):
            context.op_execution_context.log_event(observation)
        return dg.AssetCheckResult(
            passed=said.passed, severity=said.severity, description=said.description, metadata=said.metadata
        )

    return check


def stale_assets(instance: dg.DagsterInstance, workspace: Workspace) -> tuple[str, list[Any]]:
    """Which assets are not up to date, in words, and the answers that changed since they were last given, as events."""
    found = study_status(workspace, *STAGES)
    events: list[Any] = []
    warned = []
    for stage in STAGES:
        said, before = answer(workspace, stage, found), _last_answer(instance, workspace, stage)
        if not said.passed:
            warned.append(stage.name)
        if _shown(instance, workspace, stage, said, before):
            continue
        events += [*observations(workspace, stage, said, before), said]
    stands = f"{len(warned)} of {len(STAGES)} assets are not up to date: {', '.join(warned)}"
    return stands if warned else "every asset is up to date", events


def answer(workspace: Workspace, stage: Stage, found: StudyStatus) -> dg.AssetCheckEvaluation:
    """Whether a stage is up to date.

    Args:
        found: where the stage and all behind it stand.
    """
    stale = found.stale.get(stage.name, {})
    upstream = [each.name for each in behind(stage) if each.name in found.stale or each.name in found.blocked]
    total = len({*workspace.records.keys(stage.name), *stale})
    if stage.name in found.blocked:
        said = f"waits: {found.blocked[stage.name]}"
    elif stale:
        said = f"{len(stale)} of {total} stale: {in_words(stale)}" if stage.partitions else f"stale: {in_words(stale)}"
    elif upstream:
        said = f"made from what is stale now: {', '.join(upstream)}"
    else:
        said = "up to date"
    reasons: dict[str, list[str]] = {}
    for key, reason in sorted(stale.items()):
        reasons.setdefault(str(reason), []).append(key)
    rows = [{"partition": key, "reason": str(reason)} for key, reason in sorted(stale.items())]
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(workspace, stage),
        check_name=NAME,
        passed=said == "up to date",
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "stale": len(stale),
            "of": total,
            **table("stale now", rows),
            **({"stale upstream": ", ".join(upstream)} if upstream else {}),
            _REASONS: dg.MetadataValue.json(reasons),
        },
    )


def observations(
    workspace: Workspace, stage: Stage, said: dg.AssetCheckEvaluation, before: "AssetCheckExecutionRecord | None"
) -> Iterator[dg.AssetObservation]:
    """One for each partition whose reason changed, and one for each that is up to date again though nobody made it.

    None for documents: they are looked at again by themselves, and an observation would count as their content.
    """
    if stage.partitions is None or not stage.upstream:
        return
    now, then = _by_key(said), _by_key(before.evaluation) if before and before.evaluation else {}
    for key, reason in now.items():
        if then.get(key) != reason:
            yield _observation(workspace, stage, key, reason, "yes")
    for key in then.keys() - now.keys():
        record = workspace.records.current(stage.name, key)
        if record and before and before.event and _time(record) < before.event.timestamp:
            yield _observation(workspace, stage, key, "up to date again", "no")


def _observation(workspace: Workspace, stage: Stage, key: str, reason: str, stale: str) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key(workspace, stage),
        partition=key,
        description=reason,
        metadata={"stale": stale, "reason": reason},
        tags={STALE: stale},
    )


def _by_key(said: dg.AssetCheckEvaluation) -> dict[str, str]:
    """Stale key -> reason, as an answer gave them."""
    reasons: Any = said.metadata[_REASONS].value
    return {key: reason for reason, keys in reasons.items() for key in keys}


def _time(record: Record) -> float:
    return datetime.fromisoformat(record.made_at).timestamp()


def _answered(record: "AssetCheckExecutionRecord") -> bool:
    return record.status.value in ("SUCCEEDED", "FAILED")


def _history(instance: dg.DagsterInstance, workspace: Workspace, stage: Stage) -> "list[AssetCheckExecutionRecord]":
    key = dg.AssetCheckKey(asset_key(workspace, stage), NAME)
    return list(instance.event_log_storage.get_asset_check_execution_history(key, limit=_LOOKED_AT))


def _last_answer(
    instance: dg.DagsterInstance, workspace: Workspace, stage: Stage
) -> "AssetCheckExecutionRecord | None":
    return next((record for record in _history(instance, workspace, stage) if _answered(record)), None)


def _shown(
    instance: dg.DagsterInstance,
    workspace: Workspace,
    stage: Stage,
    said: dg.AssetCheckEvaluation,
    before: "AssetCheckExecutionRecord | None",
) -> bool:
    """Whether Dagster shows this answer already, or a run that is going will give one."""
    latest = next(iter(_history(instance, workspace, stage)), None)
    if latest is None:
        return False
    last = latest.evaluation
    if last is None or not _answered(latest):
        run = instance.get_run_by_id(latest.run_id)
        return run is not None and run.status in UNFINISHED
    made = instance.get_latest_materialization_event(asset_key(workspace, stage))
    # Dagster shows no answer that is older than what was materialised. By the events' times: rows have whole seconds.
    answered = latest.event.timestamp if latest.event is not None else latest.create_timestamp
    if made is not None and made.timestamp > answered and made.run_id != latest.run_id:
        return False
    return (last.passed, last.description, _by_key(last)) == (said.passed, said.description, _by_key(said))
