"""Tasks handed to one of datatrove's executors, in processes that end with this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from regmix_pipeline.addresses import has_credentials, without_credentials
from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import write_json
from regmix_pipeline.processes import command, how_it_ended, module_search, start
from regmix_pipeline.slurm import outside_of_jobs
from regmix_pipeline.study.settings.tokens import ExecutorSettings
from regmix_pipeline.tokens.parts import PartTask, read_failure

TASKS, SETTINGS, REFUSED, NEWS = "tasks", "settings.json", "refused.json", "news.txt"


def task_path(tasks: Path, rank: int) -> Path:
    """The file of one task. Each has its own: a list of thousands would be sent to, and read by, every one of them."""
    return tasks / f"{rank:06d}.json"


class Execution:
    """Tasks at work, as a context: whatever ends it ends them.

    Args:
        folder: folder for the tasks and the logs; emptied first, so that no mark of an earlier run counts.
        tasks: the tasks, at least one.
        settings: where they run.
    """

    def __init__(self, folder: Path, tasks: Sequence[PartTask], settings: ExecutorSettings) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for task in tasks:
            if has_credentials(task.source.address) or any(map(has_credentials, task.files)):
                raise TokenError(
                    "the address holds credentials, and tasks of an executor are files that others can read",
                    where=f"{task.name}: {without_credentials(task.source.address)}",
                    remedy="leave them out of the address, and give them on every machine to fsspec's configuration "
                    "(~/.config/fsspec), the environment or ~/.netrc",
                )
        for rank, task in enumerate(tasks):
            write_json(task_path(folder / TASKS, rank), task.model_dump(mode="json"))
        write_json(folder / SETTINGS, settings.model_dump(mode="json"))
        self.folder, self._local = folder, settings.kind == "local"
        self._deaths: dict[int, str] = {}
        self._reported = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock, self._stopped = threading.Lock(), False
        # A process a task here; elsewhere one that speaks to the cluster.
        ranks = range(len(tasks) if self._local else 1)
        self._threads = ThreadPoolExecutor(min(len(ranks), settings.workers or len(os.sched_getaffinity(0))))
        self._work = [self._threads.submit(self._run, rank) for rank in ranks]

    def __enter__(self) -> Execution:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    @property
    def ended(self) -> bool:
        """Whether nothing is running or waiting any more.

        Raises:
            RegmixError: the executor could not begin.
        """
        ended = all(work.done() for work in self._work)
        if ended and (self.folder / REFUSED).exists():
            raise read_failure(self.folder / REFUSED)
        for work in self._work if ended else ():
            work.result()
        return ended

    def news(self) -> list[str]:
        """What the process that speaks to the cluster has had to say since this was asked last."""
        try:
            lines = (self.folder / NEWS).read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []
        before, self._reported = self._reported, len(lines)
        return lines[before:]

    def death_of(self, rank: int) -> str:
        """How the process of a task ended; elsewhere than here, the one that spoke to the cluster."""
        return self._deaths.get(rank if self._local else 0, "its task ended without it")

    def _run(self, rank: int) -> None:
        with (self.folder / f"launch{rank or ''}.txt").open("wb") as log:
            with self._lock:
                if self._stopped:
                    return
                process = start(
                    command("regmix_pipeline.tokens.launch", str(self.folder), str(rank)),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=outside_of_jobs() | {"PYTHONPATH": module_search()},
                    start_new_session=True,
                    tidy=True,
                )
                self._processes.append(process)
            code = process.wait()
        with self._lock:
            self._processes.remove(process)
            assert process.stdin is not None
            process.stdin.close()
        if code:
            self._deaths[rank] = f"the process {how_it_ended(code)}"
