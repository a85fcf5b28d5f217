"""Which assets an asset is made from, and how their partitions belong together: both follow from the stages."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.lab import Stage
from regmix_pipeline.stages import STAGES

_PARTITIONS = {stage.name: stage.partitions for stage in STAGES}


def upstream(stage: Stage) -> list[dg.AssetDep]:
    """The dependencies of a stage's asset, one for each of ``stage.upstream``.

    Where both sides are partitioned, but by different things, any partition may need any other: a mixture draws on
    domains. Dagster would look for equal keys and refuse to launch. In all other cases its own mapping is right: equal
    keys where both are partitioned by the same, all partitions where only the upstream asset is partitioned.
    """
    return [
        dg.AssetDep(name, partition_mapping=_mapping(stage.partitions, _PARTITIONS[name])) for name in stage.upstream
    ]


def _mapping(here: str | None, there: str | None) -> dg.PartitionMapping | None:
    return dg.AllPartitionMapping() if here and there and here != there else None
