"""What a stage made, reported to Dagster: materialisations with data versions, metadata and readable failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg

from regmix_pipeline.assets.catalogue import held_of, rows_held
from regmix_pipeline.assets.changes import NOTHING_COMPUTED, SHOWN, now_stale, why_and_from_what
from regmix_pipeline.assets.heads import head_of
from regmix_pipeline.assets.marks import marks_of
from regmix_pipeline.assets.names import StudyNames, asset_key, names_of
from regmix_pipeline.assets.questions import QUESTIONS
from regmix_pipeline.checks import Finding
from regmix_pipeline.engine.records import UNPARTITIONED
from regmix_pipeline.engine.workspace import PartitionResult, Stage, Workspace
from regmix_pipeline.errors import RegmixError, refused_by_system
from regmix_pipeline.extras import missing_extra
from regmix_pipeline.progress import so_far
from regmix_pipeline.stages import known_to

ONLY_STALE = "regmix/only_stale"
"""Run tag: partitions that were reused and that Dagster knows are not reported again."""
_NO_MATERIALIZATION = "__source_asset_observation__"
"""Metadata of an output that Dagster's own observations have, so that they are not reported as materialisations."""
_LOG_LINES = 5
"""Lines of progress in Dagster's log for the partitions of a step: each is a row of its database."""
_NONE = "-"
"""Place and remedy of a failure that has none."""
BACKFILL = "dagster/backfill"
"""Run tag: the backfill that a run is part of."""


def reported_partitions(instance: dg.DagsterInstance, workspace: Workspace, stage: Stage) -> set[str]:
    """Partitions that Dagster knows a materialisation of: a run that was killed may have recorded more than it
    reported."""
    return set(instance.get_materialized_partitions(asset_key(workspace, stage)))


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn an error the user can act on into a Dagster failure that shows its text and is not retried."""
    try:
        yield
    except (RegmixError, OSError, ModuleNotFoundError) as raised:
        error = raised if isinstance(raised, RegmixError) else refused_by_system(raised) or missing_extra(raised)
        if error is None:
            raise
        raise dg.Failure(
            description=str(error),
            metadata={"where": error.where or _NONE, "remedy": error.remedy or _NONE},
            allow_retries=False,
        ) from None  # what caused it may quote credentials, and the event log is kept


def error_of_failure(description: str, metadata: Mapping[str, dg.MetadataValue]) -> RegmixError:
    """The error that a Dagster failure with this description and metadata shows."""
    shown = {name: str(value.value) for name in ("where", "remedy") if (value := metadata.get(name)) is not None}
    where, remedy = (shown.get(name, _NONE).removeprefix(_NONE) for name in ("where", "remedy"))
    problem = description.removeprefix(f"{where}: ").removesuffix(f"\n  remedy: {remedy}")
    return RegmixError(problem, where=where, remedy=remedy)


def materialize_partitions(
    context: dg.AssetExecutionContext, workspace: Workspace, stage: Stage, keys: Sequence[str]
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckResult | dg.Output]:
    """Make partitions of a stage and yield one materialisation for each, as it is ready; then its check, if it has one.

    Args:
        keys: the partitions.

    Raises:
        dg.Failure: at the end, when some partitions failed; the others are kept.
    """
    failed: dict[str, RegmixError] = {}
    done = {"made in this run": 0, "reused in this run": 0, "restored from earlier records": 0}
    quiet = ONLY_STALE in context.run.tags
    rows: dict[str, int] | None = None
    asked, started = list(keys), time.monotonic()
    reported = reported_partitions(context.instance, workspace, stage) if quiet else set()
    with plain_failures():
        marks = marks_of(workspace) if stage.partitions == "mixture" else {}
        wanted = stage.expected_recipes(workspace) if BACKFILL in context.run.tags else asked
        gone = [key for key in asked if key not in wanted]
        for key in gone:
            # The backfill was launched before this partition was withdrawn, and would wait for it.
            context.log.warning(f"{key}: not a partition of the study any more; nothing is made")
            yield dg.AssetMaterialization(
                asset_key(workspace, stage),
                partition=key,
                metadata={"what changed": "not a partition of the study any more: nothing was made"},
            )
        asked = [key for key in asked if key not in gone]
        for made in workspace.materialise(stage, asked):
            if made.error is not None:
                failed[made.key] = made.error
                yield dg.AssetObservation(
                    asset_key(workspace, stage), partition=made.key, description=f"failed: {made.error}"
                )
                continue
            kind = "restored from earlier records" if made.restored else "made in this run"
            done["reused in this run" if made.reused else kind] += 1
            count = sum(done.values())
            if count * _LOG_LINES // len(asked) > (count - 1) * _LOG_LINES // len(asked):
                context.log.info(f"{stage.name}: {count} of {len(asked)} partitions")
            if not (made.reused and made.key in reported):
                ready = sum(done.values()) + len(failed)
                pace = so_far(ready, done["made in this run"], len(asked), time.monotonic() - started)
                assert made.record is not None
                if rows is None:
                    # Not before the first is there: what was withdrawn is gone by then.
                    rows = rows_held(workspace, stage)
                rows |= rows_held(workspace, stage, [made.record])
                shown = {**pace, **marks.get(made.key, {}), **head_of(workspace)}
                yield _materialisation(workspace, stage, made, shown, rows)
    question = QUESTIONS.get(stage.name)
    # Where all partitions failed there is nothing to ask about, and the answer would hide why.
    if question is not None and not (failed and not workspace.records.keys(stage.name)):
        with (
            plain_failures(),
            workspace.tables("proxies", "proxy_losses", assets=known_to(stage.name)) as connection,
        ):
            finding = question.finding(workspace, connection)
        shown = question.picture(workspace) if question.picture else {}
        yield blocking_result(
            workspace, replace(finding, facts={**finding.facts, **done}), stage.name, question.check, shown
        )
    if failed:
        raise dg.Failure(
            description=f"{len(failed)} of {len(asked)} partitions failed\n{_listed(failed)}",
            metadata={"failed": list(failed), "remedy": _common_remedy(failed) or _NONE},
            allow_retries=False,
        )
    context.log.info(f"{stage.name}: " + ", ".join(f"{count} {what}" for what, count in done.items()))
    yield unchanged(names_of(workspace), stage)


def _listed(failed: Mapping[str, RegmixError]) -> str:
    """A line for each failed partition, and its remedy below it where they have different ones."""
    if remedy := _common_remedy(failed):
        return "\n".join(f"{key}: {error}".removesuffix(f"\n  remedy: {remedy}") for key, error in failed.items())
    return "\n".join(f"{key}: {error}" for key, error in failed.items())


def _common_remedy(failed: Mapping[str, RegmixError]) -> str:
    """The remedy that all failed partitions have; "" where they have different ones."""
    remedies = {error.remedy for error in failed.values()}
    return remedies.pop() if len(remedies) == 1 else ""


def unchanged(names: StudyNames, stage: Stage) -> dg.Output:
    """The end of a step that reports no further materialisation.

    Without an output Dagster would skip what is behind this step in the same run. An output on its own is reported as a
    materialisation; with this mark it is not.
    """
    return dg.Output(None, names.op_name(stage), metadata={_NO_MATERIALIZATION: True})


def blocking_result(
    workspace: Workspace, finding: Finding, asset: str, name: str | None = None, shown: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """The result of a check that must pass. A failure also withdraws the asset, so that no later run builds on it."""
    if not finding.passed:
        workspace.withdraw(asset)
    return check_result(finding, asset=asset_key(workspace, asset) if name else None, name=name, shown=shown)


def check_result(
    finding: Finding,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    asset: dg.AssetKey | None = None,
    name: str | None = None,
    shown: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """A finding as the result of an asset check; ``shown`` is metadata besides its facts."""
    return dg.AssetCheckResult(
        passed=finding.passed,
        severity=severity,
        description=finding.description,
        metadata={**finding.facts, **(shown or {})},
        asset_key=asset,
        check_name=name,
    )


def materialize_asset(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    stage: Stage,
    tables: Callable[[Workspace], Mapping[str, Any]],
    changes: Callable[[Workspace, PartitionResult], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Make a stage that has no partitions; ``tables`` and ``changes`` add to its metadata once it is made."""
    key = asset_key(workspace, stage)
    with plain_failures():
        found = {made.key: made for made in workspace.materialise(stage)}
        if not found:
            return dg.MaterializeResult(asset_key=key, metadata={"not part of this study": True})
        for each in found.values():
            if each.error is not None:
                raise each.error
        made = found[UNPARTITIONED]
    assert made.record is not None
    context.log.info(f"{stage.name}: {outcome(made)}")
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(made.record.version),
        metadata={"result": outcome(made)}
        | dict(tables(workspace))
        | why_and_from_what(made)
        | dict(changes(workspace, made))
        | now_stale(workspace, stage)
        | _metadata(made)
        | dict(held_of(workspace, stage, made.record, rows_held(workspace, stage)))
        | head_of(workspace),
    )


def metadata_of(made: PartitionResult) -> dict[str, Any]:
    """What a key holds, as Dagster metadata: why it was made, its record's facts, its version."""
    assert made.record is not None
    return why_and_from_what(made) | _metadata(made)


def _metadata(made: PartitionResult) -> dict[str, Any]:
    record = made.record
    assert record is not None
    return {
        **{name: _shown(value) for name, value in record.facts.items()},
        "version": record.version,
        "recipe": record.recipe,
        "reused": made.reused,
        "made before from the same inputs": made.restored,
        "seconds": record.seconds,
        **({"file": dg.MetadataValue.path(record.files[0])} if record.files else {}),
    }


def outcome(made: PartitionResult) -> str:
    """What a run did about a key, in words."""
    if made.reused:
        return NOTHING_COMPUTED
    return "made before from the same inputs, nothing computed" if made.restored else f"computed: {made.reason}"


def _materialisation(
    workspace: Workspace, stage: Stage, made: PartitionResult, shown: Mapping[str, str], rows: Mapping[str, int]
) -> dg.AssetMaterialization:
    assert made.record is not None
    return dg.AssetMaterialization(
        asset_key(workspace, stage),
        partition=made.key,
        description=outcome(made),
        metadata={**shown, **metadata_of(made), **held_of(workspace, stage, made.record, rows)},
        tags={"dagster/data_version": made.record.version, "regmix/recipe": made.record.recipe},
    )


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) <= SHOWN and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, int | float | str) else dg.MetadataValue.json(value)
