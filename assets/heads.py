"""The journal's head in Dagster's event log, where it outlives a home that was rewritten."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from regmix_pipeline.engine.journal import Head
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.resources.instance import plain_folder

JOURNAL = "journal"
"""Metadata that holds the head."""
ASSETS_WITH_HEADS = ("regressor", "optimal_mixture", "mixture_decision", "confirmation", "mixture_report")
"""Assets whose events are read for it: few, and late in a run."""
PAGE = 1000


def head_of(workspace: Workspace) -> dict[str, str]:
    """The journal's head as metadata of an event."""
    return {JOURNAL: str(workspace.records.journal.head)}


def reported_heads(home: Path) -> list[tuple[Head, str]]:
    """Heads in the event log of a home's Dagster instance, and the event that has each; none without an instance.

    Raises:
        LookupError: the event log cannot be read; says why.
    """
    if not has_instance(home):
        return []
    try:
        with instance_of(home) as instance:
            return [
                head
                for asset in instance.all_asset_keys()
                if asset.path[-1] in ASSETS_WITH_HEADS
                for fetch in (instance.fetch_materializations, instance.fetch_observations)
                for head in _heads_in(fetch, asset)
            ]
    except Exception as error:  # of any storage, such as a folder that cannot be written to, or of its configuration
        raise LookupError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """What an error says, without the classes that SQLAlchemy puts before it."""
    return re.sub(r"^\([\w.]+\)\s*", "", str(error).strip().partition("\n")[0]) or "it cannot be read"


def has_instance(home: Path) -> bool:
    """Whether a home has a Dagster instance."""
    return (home / "dagster" / "dagster.yaml").is_file()


@contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """A home's Dagster instance, as it is there: nothing of it is prepared or written."""
    before, folder = os.environ.get("DAGSTER_HOME"), str(plain_folder(home / "dagster"))
    os.environ["DAGSTER_HOME"] = folder  # storages look there for their files
    try:
        with dg.DagsterInstance.from_config(folder) as instance:
            yield instance
    finally:
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before


def _heads_in(fetch: Callable[..., dg.EventRecordsResult], asset: dg.AssetKey) -> Iterator[tuple[Head, str]]:
    name, cursor, more = asset.path[-1], None, True
    while more:
        found = fetch(asset, PAGE, cursor)
        for record in found.records:
            event: Any = record.asset_materialization or record.asset_observation
            said = event.metadata.get(JOURNAL) if event else None
            try:
                yield (
                    Head.of(str(said.value if said else "")),
                    f"Dagster's event {record.storage_id} of {name}",
                )
            except ValueError:
                continue  # an event without a head
        cursor, more = found.cursor, found.has_more
