"""datatrove's executor for Slurm, waited for. Imported only when parts are made there."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from regmix_pipeline import slurm
from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.study.settings.tokens import ExecutorSettings

LOOK_EVERY = 2.0
"""Seconds between two looks at Slurm's queue."""


class ArrayJobs(SlurmPipelineExecutor):
    """datatrove's executor, without its job that adds up statistics: that one stays queued after a failure."""

    def launch_merge_stats(self) -> None:
        """Nothing: counts are in the parts."""

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """datatrove's options without those that were not given, for which the cluster has defaults."""
        return {name: value for name, value in super().get_sbatch_args(max_array).items() if value is not None}


def job_name(folder: Path) -> str:
    """Name of the jobs of the run whose files are in ``folder``; the same for every run of a study's home."""
    return f"regmix-tokens-{fingerprint(str(folder))}"


def run_on_slurm(folder: Path, pipeline: list[PipelineStep], tasks: int, settings: ExecutorSettings) -> None:
    """Run all tasks as array jobs; return when none of them is queued or at work any more.

    Raises:
        TokenError: Slurm is not there, or refuses the jobs.
    """
    name = job_name(folder)
    cancel(name)
    # Jobs find this Python's programs whether or not its environment is active.
    path = f'export PATH="{Path(sys.executable).parent}:$PATH"'
    executor = ArrayJobs(
        pipeline,  # pyright: ignore[reportArgumentType]
        tasks=tasks,
        time=settings.time,  # pyright: ignore[reportArgumentType]
        partition=settings.partition,  # pyright: ignore[reportArgumentType]
        cpus_per_task=settings.cpus_per_task,
        mem_per_cpu_gb=settings.mem_per_cpu_gb,
        workers=settings.workers or -1,
        job_name=name,
        qos=settings.qos or "",
        env_command="\n".join(filter(None, [settings.env_command, path])),
        sbatch_args=dict(settings.sbatch_args),
        logging_dir=str(folder / "logs"),
    )
    try:
        executor.run()
    except (OSError, subprocess.CalledProcessError) as error:
        raise TokenError(
            f"the jobs cannot be submitted: {error}",
            where="shards.executor",
            remedy=f"see what sbatch said in {folder / 'launch.txt'}; check partition, time, qos and sbatch_args",
        ) from error
    heard = time.monotonic()
    while (queued := slurm.jobs([name])) != {}:
        if queued is not None:
            heard = time.monotonic()
        elif time.monotonic() - heard > slurm.SILENCE:
            raise TokenError("squeue gives no answer", where="shards.executor", remedy="run again: parts are kept")
        time.sleep(LOOK_EVERY)


def cancel(name: str) -> None:
    """Cancel the jobs of this name, which a killed run may have left. Raises TokenError where there is no Slurm."""
    try:
        slurm.cancel([name])
    except OSError as error:
        raise TokenError(
            "there is no scancel on this machine",
            where="shards.executor.kind",
            remedy="run on a machine that submits Slurm jobs",
        ) from error
