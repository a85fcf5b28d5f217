"""A task on a worker of a Ray cluster: the same as a local worker does, through the store where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def proxy_task(line: dict[str, Any], store: str | None, cache: str) -> dict[str, Any]:
    """What `worker.answer` says of the task that ``line`` states.

    Args:
        line: see `local.line_of`.
        store: its address; None: this machine shares the study's disk.
        cache: folder of what was fetched from the store.
    """
    from regmix_pipeline.proxies.workers.remote import done_through
    from regmix_pipeline.proxies.workers.store import Store
    from regmix_pipeline.proxies.workers.worker import answer, done_here, prepare_torch

    prepare_torch()
    if store is None:
        return answer(line, done_here)
    return answer(line, lambda task: done_through(Store(store), task, Path(cache).expanduser()))
