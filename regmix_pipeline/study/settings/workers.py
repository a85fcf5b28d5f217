"""The study's choice of an engine, and the environment's, which goes before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from regmix_pipeline.study.settings.base import Settings

Kind = Literal["local", "ray", "slurm"]
_VARIABLES = {
    "kind": "REGMIX_ENGINE",
    "address": "REGMIX_RAY_ADDRESS",
    "stack": "REGMIX_STACK",
    "gpus_per_model": "REGMIX_GPUS_PER_MODEL",
    "divide": "REGMIX_DIVIDE",
    "store": "REGMIX_STORE",
    "cpus_per_proxy": "REGMIX_CPUS_PER_PROXY",
    "gpus_per_proxy": "REGMIX_GPUS_PER_PROXY",
    "wait_for_nodes": "REGMIX_RAY_WAIT_FOR_NODES",
    "cache": "REGMIX_CACHE",
}


class EngineSettings(Settings):
    """Where proxies are trained. No part of any result: the same proxies come out of every engine."""

    kind: Kind = "local"
    """local: processes on this machine. ray: tasks on a Ray cluster (needs the extra `ray`). slurm: a job for each
    command of `proxies.trainer`."""
    address: str | None = None
    """Address of the Ray cluster, for instance ray://head:10001. Default: the one this process belongs to or finds."""
    cpus_per_proxy: float = Field(default=1.0, gt=0)
    """CPU cores that Ray sets aside for a proxy."""
    gpus_per_proxy: float = Field(default=0.0, ge=0)
    """Share of a GPU that Ray sets aside for a proxy: .25 trains four on a device."""
    wait_for_nodes: float = Field(default=0.0, ge=0)
    """Seconds that the Ray cluster may take to bring up a node large enough for a proxy, where it adds nodes by itself.
    Default: 0, such a node must be there."""
    sbatch_args: dict[str, str] = Field(default_factory=dict)
    """Options of sbatch for these jobs by their long names, for instance {partition: gpu, gres: "gpu:1"}."""
    stack: int | None = Field(default=None, ge=1, le=1024)
    """Proxies of one shape that a worker trains as one program; on a CPU to the same bits as one at a time. Default: on
    a CPU one; on a GPU what fits its memory and a trial finds best, with one worker for each GPU."""
    gpus_per_model: int = Field(default=1, ge=1, le=1024)
    """GPUs of this machine that a model which is not stacked trains on, each with its share of a step's windows. For
    models of the confirmation that one GPU takes too long for. Not used on a CPU."""
    divide: bool | None = None
    """Whether each of those GPUs holds only its part of the model and of AdamW's averages, a step's windows being a
    multiple of them. Default: where one GPU's memory does not hold the whole model."""
    store: str | None = None
    """fsspec address that shards and finished proxies go through, for instance s3://bucket/demo. Default: none, the
    study's home is on a disk that all machines share."""
    cache: str = "~/.cache/regmix"
    """Folder on each machine where shards from the store are kept, with their checksums."""

    def overridden(self, environment: Mapping[str, str] | None = None) -> EngineSettings:
        """These settings with what the environment says instead.

        Raises:
            StudyError: a variable does not hold what it should.
        """
        return self.overridden_by(_VARIABLES, environment)
