"""Which proxies go into one stack: units of work that are handed to a worker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec

T = TypeVar("T")

Outcome = Mapping[str, Any] | Exception
"""What `proxy.json` holds, or why there is none."""
AUTOMATIC = 64
"""Proxies at most that a worker with a GPU is given at once, where it chooses itself how many it stacks."""


def in_stacks(tasks: Sequence[T], most: int, workers: int, shape_of: Callable[[T], str | None]) -> list[list[T]]:
    """Tasks in units of work.

    Those of one shape come together, up to ``most`` of them, and no more than leave work for every worker; the units of
    a shape differ by one in size. What has no shape is a unit of its own.
    """
    if most == 1:
        return [[task] for task in tasks]
    alike: dict[Hashable, list[T]] = defaultdict(list)
    for number, task in enumerate(tasks):
        alike[shape_of(task) or number].append(task)
    units = []
    for group in alike.values():
        parts = max(-(-len(group) // most), min(workers, len(group)))
        units += [group[len(group) * part // parts : len(group) * (part + 1) // parts] for part in range(parts)]
    return units


def shape_of(task: ProxySpec | EvaluationSpec) -> str | None:
    """What proxies of one stack have in common; None of what is never stacked."""
    if isinstance(task, EvaluationSpec) or task.trainer is not None:
        return None
    training, steps = task.training, task.training.steps(task.model.context)
    last = min(task.stop_at or steps, steps)
    return f"{task.model.model_dump_json()} {task.vocabulary} {training.windows_per_step} {last} {task.device}"
