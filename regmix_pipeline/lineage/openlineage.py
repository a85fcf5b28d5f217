"""The chain as OpenLineage events, for Marquez, DataHub, OpenMetadata and whatever else reads them.

Every step is a run of the job named after its asset: a START and a COMPLETE event, the latter with what it read and
made. A Dagster run makes many things, so it is the parent of these runs (https://openlineage.io/spec/facets).
Ids follow from the content: sending a chain twice describes the same runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import attr
import pyarrow as pa
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    dataset_version_dataset,
    documentation_dataset,
    documentation_job,
    job_type_job,
    output_statistics_output_dataset,
    ownership_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    set_producer,
)

import regmix_pipeline
from regmix_pipeline.decisions.find import Decision
from regmix_pipeline.decisions.verdicts import Verdict
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.lineage.chain import DECISION, Step, Thing

PRODUCER = f"urn:regmix-pipeline:{regmix_pipeline.__version__}"
set_producer(PRODUCER)  # of every facet

DAGSTER_JOB = "dagster"
"""Name of the job that parent runs belong to."""

_KINDS = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE", pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}


@attr.define
class ContentFacet(DatasetFacet):
    """What a version holds, beside the standard facets: SHA-256 of its files, and versions of folded partitions."""

    sha256: dict[str, str] = attr.field(factory=dict)
    partitions: dict[str, str] = attr.field(factory=dict)


@attr.define
class DecisionFacet(DatasetFacet):
    """The decision: its mixture, the gain it promises, and what was said of it."""

    weights: dict[str, float] = attr.field(factory=dict)
    gain: dict[str, Any] = attr.field(factory=dict)
    verdicts: list[dict[str, Any]] = attr.field(factory=list)
    seal: str = attr.field(default="")


class LineageContext(NamedTuple):
    """What the events of a chain have in common: the decision, its verdicts, and the namespace of jobs and datasets."""

    decision: Decision
    verdicts: Sequence[Verdict]
    namespace: str


def namespace_of(decision: Decision) -> str:
    """The namespace where none is asked for."""
    return f"regmix:{decision['study']}"


def events_of(steps: Iterator[Step], context: LineageContext) -> Iterator[RunEvent]:
    """Two events a step, in the order of the steps."""
    for step in steps:
        run, job = Run(str(run_id(step.made, context)), _run_facets(step, context)), _job(step, context)
        yield _event(RunState.START, step.started, run, job)
        yield _event(
            RunState.COMPLETE,
            step.ended,
            run,
            job,
            inputs=[InputDataset(context.namespace, each.place, facets=_version(each)) for each in step.inputs],
            outputs=[_output(step, context)],
        )


def run_id(made: Thing, context: LineageContext) -> uuid.UUID:
    """The id of the run that made a thing: the same whenever it is context."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"regmix:{context.decision['study']}/{made.place}@{made.version}")


def as_json(event: RunEvent) -> str:
    """The event on one line."""
    from openlineage.client.serde import Serde

    return Serde.to_json(event)


def _event(state: RunState, time: str, run: Run, job: Job, **datasets: Any) -> RunEvent:
    return RunEvent(eventType=state, eventTime=time, run=run, job=job, producer=PRODUCER, **datasets)


def _run_facets(step: Step, context: LineageContext) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=context.decision.get("code", {}).get("package", ""), name="regmix-pipeline"
        )
    }
    parents = [run for run in step.runs if _is_uuid(run)]
    if len(parents) == 1:  # a folded step may have several, and the facet takes one
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(parents[0]), job=parent_run.Job(context.namespace, DAGSTER_JOB)
        )
    return facets


def _job(step: Step, context: LineageContext) -> Job:
    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "DAGSTER", "ASSET"),
        "documentation": documentation_job.DocumentationJobFacet(_meaning(step.made.asset)),
    }
    return Job(context.namespace, step.made.asset, facets)


def _meaning(asset: str) -> str:
    tables = [f"{name}: {table.meaning}" for name, table in TABLES.items() if asset in table.assets]
    return "; ".join(tables) or asset.replace("_", " ")


def _version(thing: Thing) -> dict[str, Any]:
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(thing.version)}


def _output(step: Step, context: LineageContext) -> OutputDataset:
    facets = _version(step.made)
    if fields := _fields(step.made.asset):
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields)
    if step.files or step.members:
        facets["regmix_content"] = ContentFacet(
            sha256={name: total for name, total in step.files.items() if total},
            partitions=dict(step.members),
        )
    if step.made.asset == DECISION:
        facets |= _decision_facets(context)
    counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(fileCount=len(step.files))
    return OutputDataset(
        context.namespace,
        step.made.place,
        facets=facets,
        outputFacets={"outputStatistics": counted} if step.files else {},
    )


def _fields(asset: str) -> list[schema_dataset.SchemaDatasetFacetFields]:
    """The ledger tables that an asset writes: its columns, or, of several tables, a field a table."""
    tables = {name: table for name, table in TABLES.items() if asset in table.assets}
    columns = {
        name: [
            schema_dataset.SchemaDatasetFacetFields(column, _KINDS[kind], meaning)
            for column, (kind, meaning) in table.columns.items()
        ]
        for name, table in tables.items()
    }
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [
        schema_dataset.SchemaDatasetFacetFields(name, "TABLE", tables[name].meaning, fields=fields)
        for name, fields in columns.items()
    ]


def _decision_facets(context: LineageContext) -> dict[str, Any]:
    decision = context.decision
    approved = [f"user:{verdict.by}" for verdict in context.verdicts[-1:] if verdict.said == "approved"]
    facets: dict[str, Any] = {
        "documentation": documentation_dataset.DocumentationDatasetFacet(decision["summary"]),
        "regmix_decision": DecisionFacet(
            weights=decision["mixture"]["weights"],
            gain=decision.get("gain") or {},
            verdicts=[_plain(verdict) for verdict in context.verdicts],
            seal=decision.get("seal", ""),
        ),
    }
    if approved:
        owners = [ownership_dataset.Owner(name, "APPROVER") for name in approved]
        facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(owners)
    return facets


def _plain(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain values."""
    return {name: getattr(verdict, name) for name in ("verdict", "said", "by", "reason", "said_at", "through")}


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
