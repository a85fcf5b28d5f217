"""A task on a worker of a Ray cluster: the same as a local worker does, through the store where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def proxy_task(line: dict[str, Any], store: str | None, cache: str) -> dict[str, Any]:
    """What `worker.answer` says of the task that ``line`` states.

    Args:
        line: see `local.line_of_unit`.
        store: its address; None: this machine shares the study's disk.
        cache: folder of what was fetched from the store.
    """
    from regmix_pipeline.proxies.workers.prepare import prepare_torch
    from regmix_pipeline.proxies.workers.remote import Through
    from regmix_pipeline.proxies.workers.store import Store
    from regmix_pipeline.proxies.workers.worker import LocalFiles, answer

    prepare_torch()
    return answer(line, LocalFiles() if store is None else Through(Store(store), Path(cache).expanduser()))
