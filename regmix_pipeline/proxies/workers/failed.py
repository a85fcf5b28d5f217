"""A task that files or the store stood in the way of: its own error, while the others go on."""

from __future__ import annotations

from regmix_pipeline.proxies.workers.local import Result, Task, explained, where_of


def failed(task: Task, error: Exception) -> Result:
    """The task's result, with the error as one that a user can act on."""
    remedy = "see the message, about the store or a file, and run again: finished proxies are kept"
    return Result(task, {}, error=explained(error, where_of(task), remedy))
