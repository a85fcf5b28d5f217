"""The two kinds of partition: sources of text, and mixtures. Both grow and shrink with the study."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

SOURCES = dg.DynamicPartitionsDefinition(name="domain")
"""Domains, and target sets that are not domains: everything that is tokenised."""

MIXTURES = dg.DynamicPartitionsDefinition(name="mixture")
"""Mixture ids: what proxies are trained on."""

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Run tags: the first and the last partition that a run makes."""


def register(instance: dg.DagsterInstance, partitions: dg.DynamicPartitionsDefinition, keys: Sequence[str]) -> None:
    """Make ``keys`` the partitions there are: new ones are added at the end, withdrawn ones leave the graph."""
    name = partitions.name
    assert name is not None, "dynamic partitions are registered by name"
    present = instance.get_dynamic_partitions(name)
    for key in sorted(set(present) - set(keys)):
        instance.delete_dynamic_partition(name, key)
    new = [key for key in keys if key not in present]
    if new:
        instance.add_dynamic_partitions(name, new)
