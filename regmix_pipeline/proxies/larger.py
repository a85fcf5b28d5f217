"""Train and measure larger models than a study's proxies: those of a second size, and those that confirm a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.progress import Progress
from regmix_pipeline.proxies.reuse import drop_altered
from regmix_pipeline.proxies.spec import EvaluationSpec, ProxySpec, files_of, starts_of
from regmix_pipeline.proxies.workers.choose import executor_of


def train_larger(workspace: Workspace, specs: Sequence[ProxySpec], stage: str, what: str) -> dict[Path, str]:
    """Train models, or take those that are there; path -> SHA-256 of their weights.

    The models of earlier phases that they go on from are trained first.

    Args:
        workspace: the study on disk.
        specs: of the models.
        stage: whose progress is shown.
        what: what is counted, in words.

    Raises:
        RegmixError: the first that failed; the others are trained all the same.
    """
    weights: dict[Path, str] = {}
    for starts in starts_of(specs):
        weights |= _trained(workspace, starts, stage, "models of earlier phases trained")
    return weights | _trained(workspace, specs, stage, what)


def with_starts(specs: Sequence[ProxySpec]) -> list[Path]:
    """All files of finished models, and of those that they go on from."""
    return [path for group in (*starts_of(specs), specs) for path in files_of(group)]


def _trained(workspace: Workspace, specs: Sequence[ProxySpec], stage: str, what: str) -> dict[Path, str]:
    progress = Progress(stage, len(specs), workspace.say, what=what)
    drop_altered(workspace, specs)
    failed, weights = [], {}
    for result in executor_of(workspace).run(specs):
        if result.error is not None:
            failed.append(result.error)
        elif isinstance(result.task, ProxySpec):
            weights[result.task.output / result.task.evidence] = result.value["sha256"]
        progress.advance(note="failed" if result.error is not None else "")
    if failed:
        raise failed[0]
    return weights


def measure_larger(workspace: Workspace, tasks: Sequence[EvaluationSpec]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Proxy -> target, in the order of the study -> what was measured, or was there.

    Raises:
        RegmixError: the first task that failed; those that did not begin are left.
    """
    drop_altered(workspace, tasks)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in executor_of(workspace).run(tasks):
        if result.error is not None:
            raise result.error
        found.setdefault(result.value["proxy"], {})[result.value["target"]] = result.value
    # Not in the order in which measurements ended: equal losses give equal files.
    return {proxy: {target: each[target] for target in workspace.targets} for proxy, each in found.items()}
