"""What Dagster's catalogue shows of an asset besides its description: owners, tags, freshness, columns, code."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.records import Record
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.study.settings.catalogue import CatalogueSettings

PART = "regmix/part"
"""Tag: data, proxies or decision."""
_DAGSTER = {"string": "string", "int64": "bigint", "double": "double", "bool": "boolean"}


def table_of(stage: Stage) -> str | None:
    """The ledger's table whose rows an asset is: of its own name, or the first that it writes."""
    written = [name for name, table in TABLES.items() if stage.name in table.assets]
    named = {"regressor": "regressor_scores", "mixture_decision": "decisions", "proxy_checkpoints": "proxies"}
    wanted = named.get(stage.name, stage.name)
    return wanted if wanted in written else next((name for name in written if name != "training_curves"), None)


def shown_of(stage: Stage, settings: CatalogueSettings) -> dict[str, Any]:
    """Arguments of the asset's specification."""
    late = settings.freshness if stage is MIXTURE_DECISION else None
    return {
        "owners": list(settings.owners),
        "tags": {**settings.tags, PART: stage.group},
        "metadata": columns_of(stage) | code_of(stage),
        "freshness_policy": None
        if late is None
        else dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=late.fail_after_hours),
            warn_window=None if late.warn_after_hours is None else timedelta(hours=late.warn_after_hours),
        ),
    }


def columns_of(stage: Stage) -> dict[str, Any]:
    """The ledger's table that the asset fills, and its columns."""
    name = table_of(stage)
    if name is None:
        return {}
    columns = [
        dg.TableColumn(column, _DAGSTER.get(str(kind), str(kind)), meaning)
        for column, (kind, meaning) in TABLES[name].columns.items()
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": f"current_{name}",
    }


def code_of(stage: Stage) -> dict[str, Any]:
    """Where the stage's code is."""
    place, line = inspect.getsourcefile(stage.outputs), stage.outputs.__code__.co_firstlineno
    if place is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(
            file_path=str(Path(place).resolve()), line_number=line, label=f"stage {stage.name}"
        )
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def rows_held(workspace: Workspace, stage: Stage, records: Iterable[Record] | None = None) -> dict[str, int]:
    """Key -> rows of the ledger's table that its version wrote, by default of all current versions.

    Keys are missing that write no part of the table, or whose parts are not here.
    """
    if records is None:
        current = (workspace.records.current(stage.name, key) for key in workspace.records.keys(stage.name))
        records = filter(None, current)
    found, folder = {}, f"tables/{table_of(stage)}/"
    for record in records:
        parts = [workspace.home / name for name in record.sums if name.startswith(folder)]
        if parts and all(part.is_file() for part in parts):
            found[record.key] = sum(pq.read_metadata(part).num_rows for part in parts)
    return found


def held_of(workspace: Workspace, stage: Stage, record: Record, rows: Mapping[str, int]) -> Mapping[str, Any]:
    """What a materialisation says of its content: rows of the ledger's table, and where its first file is.

    Args:
        rows: `rows_held` of the stage, with this record.
    """
    found: dict[str, Any] = {}
    if record.key in rows:
        # Dagster shows this of an asset's latest event as the asset's, whichever partition that is of.
        found["dagster/row_count"] = sum(rows.values())
        if stage.partitions:
            found["dagster/partition_row_count"] = rows[record.key]
    if record.files:
        found["dagster/uri"] = (workspace.home / record.files[0]).as_uri()
    return found
