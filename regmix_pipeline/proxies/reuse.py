"""What was trained or measured before is reused if it is what was recorded then; else it is made again, and said so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json, sha256_of
from regmix_pipeline.proxies.evaluations import read_evaluation
from regmix_pipeline.proxies.integrity import RECORD as PROXY_RECORD
from regmix_pipeline.proxies.integrity import set_aside
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec
from regmix_pipeline.proxies.workers.local import Task

RECORDED = ("phase_checkpoints", "proxy_checkpoints", "proxy_losses", "earlier_runs", "size_runs", "confirmation")
"""Assets whose records name proxies and evaluations."""


def drop_altered(workspace: Workspace, tasks: Sequence[Task]) -> None:
    """Drop results on disk that are not the ones on record, so that they are trained or measured again.

    What is on no record yet, as after a kill, has its own checksum alone.
    """
    there = [task for task in tasks if task.output.exists()]
    if not there:
        return
    known = workspace.records.sums_on_record(RECORDED)
    for task in there:
        if isinstance(task, EvaluationSpec):
            if read_evaluation(task.output) is None or _differs(workspace, known, task.output):
                workspace.say(f"      {workspace.name_of(task.output)} is measured again: it was altered")
                task.output.unlink()
        elif task.is_finished and _proxy_differs(workspace, known, task):
            workspace.say(f"      {workspace.name_of(task.output)} is trained again: it was altered")
            set_aside(task.output)


def _proxy_differs(workspace: Workspace, known: dict[str, set[str]], spec: ProxySpec) -> bool:
    """Whether a finished proxy is another one than was recorded. Its weights are compared with their checksum by who
    reads them; here that checksum is."""
    small = [path for path in spec.output.iterdir() if path.name != spec.evidence]
    if any(_differs(workspace, known, path) for path in small):
        return True
    recorded = known.get(workspace.name_of(spec.output / spec.evidence))
    return recorded is not None and read_json(spec.output / PROXY_RECORD)["sha256"] not in recorded


def _differs(workspace: Workspace, known: dict[str, set[str]], path: Path) -> bool:
    recorded = known.get(workspace.name_of(path))
    return recorded is not None and sha256_of(path) not in recorded
