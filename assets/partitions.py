"""Registering partitions: sources of text, and mixtures. Both grow and shrink with the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    came, gone = came_and_gone(instance, partitions, instance.get_dynamic_partitions(name), keys)
    for key in gone:
        instance.delete_dynamic_partition(name, key)
    if came:
        instance.add_dynamic_partitions(name, came)


def came_and_gone(
    instance: dg.DagsterInstance,
    partitions: dg.DynamicPartitionsDefinition,
    present: Sequence[str],
    keys: Iterable[str],
) -> tuple[list[str], list[str]]:
    """Which of ``keys`` are not ``present``, and which partitions are no key any more and may be taken away now: none
    while a backfill of the study is running."""
    wanted = dict.fromkeys(keys)
    came, gone = [key for key in wanted if key not in present], [key for key in present if key not in wanted]
    return came, [] if gone and backfill_going(instance, (partitions.name or "").split("/")[0]) else gone


def backfill_going(instance: dg.DagsterInstance, study: str) -> bool:
    """Whether a backfill of a study's assets has not ended.

    Args:
        study: the study's name in asset keys and partitions.
    """
    return any(study in {key.path[0] for key in each.asset_selection or ()} for each in backfills_going(instance))


def backfills_going(instance: dg.DagsterInstance) -> list[PartitionBackfill]:
    """The backfills that have not ended, of the latest `_BACKFILLS`."""
    return [each for each in instance.get_backfills(limit=_BACKFILLS) if each.status.value in _UNFINISHED]
