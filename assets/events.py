"""What a stage made, told to Dagster: materialisations with data versions, metadata and readable failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.changes import NOTHING_COMPUTED, SHOWN, now_stale, why_and_from_what
from assets.heads import head_of
from assets.marks import marks_of
from assets.names import StudyNames, asset_key, names_of
from assets.questions import QUESTIONS
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.lab import Lab, Made, Stage
from regmix_pipeline.ledger.audit import Finding
from regmix_pipeline.progress import so_far

ONLY_STALE = "regmix/only_stale"
"""Run tag: partitions that were reused and that Dagster knows are not reported again."""
_NO_MATERIALIZATION = "__source_asset_observation__"
"""Metadata of an output that Dagster's own observations have, so that they are told as no materialisation."""
_LOG_LINES = 5
"""Lines of progress in Dagster's log for the partitions of a step: each is a row of its database."""
BACKFILL = "dagster/backfill"
"""Run tag: the backfill that a run is part of."""


def told_of(instance: dg.DagsterInstance, lab: Lab, stage: Stage) -> set[str]:
    """Partitions that Dagster knows a materialisation of: a run that was killed may have recorded more than it told."""
    return set(instance.get_materialized_partitions(asset_key(lab, stage)))


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn an error the user can act on into a Dagster failure that shows its text and is not retried."""
    try:
        yield
    except RegmixError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"where": error.where or "-", "remedy": error.remedy or "-"},
            allow_retries=False,
        ) from None  # what caused it may quote credentials, and the event log is kept


def partitions_made(
    context: dg.AssetExecutionContext, lab: Lab, stage: Stage, keys: Sequence[str]
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckResult | dg.Output]:
    """Make partitions of a stage and yield one materialisation for each, as it is ready; then its check, if it has one.

    Args:
        keys: the partitions.

    Raises:
        dg.Failure: at the end, when some partitions failed; the others are kept.
    """
    failed: dict[str, str] = {}
    done = {"made in this run": 0, "reused in this run": 0, "taken up as made before": 0}
    quiet = ONLY_STALE in context.run.tags
    asked, started = list(keys), time.monotonic()
    told = told_of(context.instance, lab, stage) if quiet else set()
    with plain_failures():
        marks = marks_of(lab) if stage.partitions == "mixture" else {}
        wanted = stage.wanted(lab) if BACKFILL in context.run.tags else asked
        gone = [key for key in asked if key not in wanted]
        for key in gone:
            # The backfill was launched before this partition was withdrawn, and would wait for it.
            context.log.warning(f"{key}: not a partition of the study any more; nothing is made")
            yield dg.AssetMaterialization(
                asset_key(lab, stage),
                partition=key,
                metadata={"what changed": "not a partition of the study any more: nothing was made"},
            )
        asked = [key for key in asked if key not in gone]
        for made in lab.materialise(stage, asked):
            if made.error is not None:
                failed[made.key] = str(made.error)
                yield dg.AssetObservation(
                    asset_key(lab, stage), partition=made.key, description=f"failed: {made.error}"
                )
                continue
            kind = "taken up as made before" if made.restored else "made in this run"
            done["reused in this run" if made.reused else kind] += 1
            count = sum(done.values())
            if count * _LOG_LINES // len(asked) > (count - 1) * _LOG_LINES // len(asked):
                context.log.info(f"{stage.name}: {count} of {len(asked)} partitions")
            if not (made.reused and made.key in told):
                ready = sum(done.values()) + len(failed)
                pace = so_far(ready, done["made in this run"], len(asked), time.monotonic() - started)
                yield _materialisation(lab, stage, made, {**pace, **marks.get(made.key, {}), **head_of(lab)})
    question = QUESTIONS.get(stage.name)
    # Where all partitions failed there is nothing to ask about, and the answer would hide why.
    if question is not None and not (failed and not lab.records.keys(stage.name)):
        with lab.tables("proxies", "proxy_losses") as connection:
            finding = question.finding(lab, connection)
        shown = question.picture(lab) if question.picture else {}
        yield blocking_result(lab, replace(finding, facts={**finding.facts, **done}), stage.name, question.check, shown)
    if failed:
        listed = "\n".join(f"{key}: {problem}" for key, problem in failed.items())
        raise dg.Failure(
            description=f"{len(failed)} of {len(asked)} partitions failed\n{listed}",
            metadata={"failed": list(failed)},
            allow_retries=False,
        )
    context.log.info(f"{stage.name}: " + ", ".join(f"{count} {what}" for what, count in done.items()))
    yield unchanged(names_of(lab), stage)


def unchanged(names: StudyNames, stage: Stage) -> dg.Output:
    """The end of a step of which no further materialisation is told.

    Without an output Dagster would skip what is behind this step in the same run. An output on its own is told as a
    materialisation; with this mark it is not.
    """
    return dg.Output(None, names.op_name(stage), metadata={_NO_MATERIALIZATION: True})


def blocking_result(
    lab: Lab, finding: Finding, asset: str, name: str | None = None, shown: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """The result of a check that must pass. A failure also withdraws the asset, so that no later run builds on it."""
    if not finding.passed:
        lab.withdraw(asset)
    return check_result(finding, asset=asset_key(lab, asset) if name else None, name=name, shown=shown)


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


def whole_made(
    context: dg.AssetExecutionContext,
    lab: Lab,
    stage: Stage,
    tables: Callable[[Lab], Mapping[str, Any]],
    changes: Callable[[Lab, Made], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Make a stage that has no partitions; ``tables`` and ``changes`` add to its metadata once it is made."""
    key = asset_key(lab, stage)
    with plain_failures():
        made = next(iter(list(lab.materialise(stage))), None)
        if made is None:
            return dg.MaterializeResult(asset_key=key, metadata={"not part of this study": True})
        if made.error is not None:
            raise made.error
    assert made.record is not None
    context.log.info(f"{stage.name}: {outcome(made)}")
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(made.record.version),
        metadata={"result": outcome(made)}
        | dict(tables(lab))
        | why_and_from_what(made)
        | dict(changes(lab, made))
        | now_stale(lab, stage)
        | _metadata(made)
        | head_of(lab),
    )


def metadata_of(made: Made) -> dict[str, Any]:
    """What a key holds, as Dagster metadata: why it was made, its record's facts, its version."""
    assert made.record is not None
    return why_and_from_what(made) | _metadata(made)


def _metadata(made: Made) -> dict[str, Any]:
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


def outcome(made: Made) -> str:
    """What a run did about a key, in words."""
    if made.reused:
        return NOTHING_COMPUTED
    return "made before from the same inputs, nothing computed" if made.restored else f"computed: {made.reason}"


def _materialisation(lab: Lab, stage: Stage, made: Made, shown: Mapping[str, str]) -> dg.AssetMaterialization:
    assert made.record is not None
    return dg.AssetMaterialization(
        asset_key(lab, stage),
        partition=made.key,
        description=outcome(made),
        metadata={**shown, **metadata_of(made)},
        tags={"dagster/data_version": made.record.version, "regmix/recipe": made.record.recipe},
    )


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) <= SHOWN and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, int | float | str) else dg.MetadataValue.json(value)
