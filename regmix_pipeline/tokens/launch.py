"""A process that runs one of datatrove's executors: `python -m regmix_pipeline.tokens.launch FOLDER [RANK]`.

A process of its own, because datatrove writes its log to standard error, Ray keeps one connection a process, and what
is running has to end with the run that started it, however that ends.
"""
# ruff: noqa: TID253 - a program, which nothing imports at its top.

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor

from regmix_pipeline.errors import RegmixError, TokenError
from regmix_pipeline.files import write_json
from regmix_pipeline.ray_cluster import GB, LOOK_EVERY, Cluster, Need
from regmix_pipeline.study.settings.tokens import ExecutorSettings
from regmix_pipeline.tokens.executors import NEWS, REFUSED, SETTINGS, TASKS
from regmix_pipeline.tokens.part_steps import part_pipeline


def main(folder: Path, rank: int) -> None:
    """Run the tasks that are stated in ``folder``; on this machine the one of ``rank`` alone."""
    settings = ExecutorSettings.model_validate_json((folder / SETTINGS).read_bytes())
    _end_with_parent(folder, settings)
    pipeline, tasks = part_pipeline(folder / TASKS), len(list((folder / TASKS).iterdir()))
    try:
        if settings.kind == "ray":
            _keep_looking(folder, _cluster(folder, settings))
            # Imports Ray: only now is it known to be installed.
            from regmix_pipeline.tokens.ray_placement import place_again

            place_again()
            RayPipelineExecutor(
                pipeline,
                tasks=tasks,
                workers=settings.workers or -1,
                logging_dir=str(folder / "logs"),
                cpus_per_task=settings.cpus_per_task,
                mem_per_cpu_gb=settings.mem_per_cpu_gb,
            ).run()
        elif settings.kind == "slurm":
            from regmix_pipeline.tokens.slurm import run_on_slurm

            run_on_slurm(folder, pipeline, tasks, settings)
        else:
            # One task a process: the executor's own pool waits forever for a worker that was killed.
            LocalPipelineExecutor(
                pipeline,  # pyright: ignore[reportArgumentType]
                tasks=tasks,
                workers=1,
                logging_dir=str(folder / "logs" / f"{rank:06d}"),
                local_tasks=1,
                local_rank_offset=rank,
            ).run()
    except RegmixError as error:
        _refuse(folder, error)
        sys.exit(1)


def _cluster(folder: Path, settings: ExecutorSettings) -> Cluster:
    """The Ray cluster, once it has room for a task; what it lacks is reported to the run that waits.

    Raises:
        TokenError: Ray is not installed, no cluster answers, or none of its nodes is large enough.
    """
    memory = settings.cpus_per_task * settings.mem_per_cpu_gb * GB
    needs = [
        Need("CPU", settings.cpus_per_task, "shards.executor.cpus_per_task"),
        Need("memory", memory, "shards.executor.mem_per_cpu_gb"),
    ]

    def say(line: str) -> None:
        with (folder / NEWS).open("a", encoding="utf-8") as news:
            news.write(line + "\n")

    cluster = Cluster(settings.address, needs, settings.wait_for_nodes, "shards.executor", TokenError, say)
    cluster.wait_for_room()
    return cluster


def _keep_looking(folder: Path, cluster: Cluster) -> None:
    """End this process, and with it what it left at the cluster, once no node there is large enough any more."""

    def look() -> None:
        while True:
            time.sleep(LOOK_EVERY)
            try:
                cluster.look()
            except RegmixError as error:
                _refuse(folder, error)
                os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _refuse(folder: Path, error: RegmixError) -> None:
    write_json(folder / REFUSED, error.payload)


def _end_with_parent(folder: Path, settings: ExecutorSettings) -> None:
    """End this process, its children and its jobs once the run that started it closes its input, or dies."""

    def wait() -> None:
        # Not through sys.stdin: its lock, held here, would stop a forked child that closes it.
        while os.read(0, 1):
            pass
        try:
            if settings.kind == "slurm":
                from regmix_pipeline.tokens.slurm import cancel, job_name

                cancel(job_name(folder))
        finally:
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
