"""Registering partitions: sources of text, and mixtures. Both grow and shrink with the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags: the first and the last partition that a run makes."""


_BACKFILLS = 20
_UNFINISHED = ("REQUESTED", "CANCELING", "FAILING")


def register(instance: dg.DagsterInstance, partitions: dg.DynamicPartitionsDefinition, keys: Sequence[str]) -> None:
    """Make ``keys`` the partitions there are: new ones are added at the end, withdrawn ones leave the graph.

    Withdrawn ones stay while a backfill is running, because Dagster fails a backfill whose partitions are taken away;
    the sensors take them away afterwards.
    """
    name = partitions.name
    assert name is not None, "dynamic partitions are registered by name"
    present = instance.get_dynamic_partitions(name)
    gone = sorted(set(present) - set(keys))
    for key in [] if gone and backfill_going(instance, name.split("/")[0]) else gone:
        instance.delete_dynamic_partition(name, key)
    new = [key for key in keys if key not in present]
    if new:
        instance.add_dynamic_partitions(name, new)


def backfill_going(instance: dg.DagsterInstance, study: str) -> bool:
    """Whether a backfill of a study's assets has not ended.

    Args:
        study: the study's name in asset keys and partitions.
    """
    return any(study in {key.path[0] for key in each.asset_selection or ()} for each in backfills_going(instance))


def backfills_going(instance: dg.DagsterInstance) -> list[PartitionBackfill]:
    """The backfills that have not ended, of the latest `_BACKFILLS`."""
    return [each for each in instance.get_backfills(limit=_BACKFILLS) if each.status.value in _UNFINISHED]
