"""Several strategies at work at once, each in a process of its own.

A strategy waits for its runs or trains a session itself, so each is given one core: as many are at work as the study
trains models at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError, RegmixError, error_from_payload
from regmix_pipeline.processes import answers, how_it_ended
from regmix_pipeline.proxies.workers.local import default_workers
from regmix_pipeline.strategies.comparison.job import Asked, task_of


def done(workspace: Workspace, asked: Sequence[Asked]) -> Iterator[tuple[Asked, RegmixError | None]]:
    """Let strategies choose; yield each as it is done, with its error if it failed. Closing the iterator stops them.

    Args:
        workspace: the study on disk.
        asked: which strategies, with what budgets and seeds.
    """
    cores = workspace.workers or default_workers()
    at_once = min(cores, len(asked))
    module, each = "regmix_pipeline.strategies.comparison.process", max(1, cores // max(1, at_once))
    with closing(answers(module, asked, lambda one: task_of(workspace, one, each), at_once, keep=False)) as found:
        for one, answer, code in found:
            where = f"strategy {one.strategy}"
            if answer is None:
                remedy = "its log is above; run again: what it had finished is kept"
                yield one, ProxyError(f"its process {how_it_ended(code)}", where=where, remedy=remedy)
            else:
                yield one, error_from_payload(answer["error"], ProxyError, where) if "error" in answer else None
