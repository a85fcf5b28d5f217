"""What must hold of the partitioned assets of proxies, asked of the ledger at the end of every run that makes some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb

from regmix_pipeline import checks
from regmix_pipeline.assets.names import StudyNames
from regmix_pipeline.assets.pictures import losses_spread
from regmix_pipeline.checks import Finding
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES


@dataclass(frozen=True)
class Question:
    """A blocking check of an asset that reports its partitions one by one.

    Attributes:
        check: its name.
        description: what holds when it passes.
        finding: the answer, from the workspace and the ledger.
        picture: metadata of the check's result, where all partitions are seen at once.
    """

    check: str
    description: str
    finding: Callable[[Workspace, duckdb.DuckDBPyConnection], Finding]
    picture: Callable[[Workspace], Mapping[str, Any]] | None = None


def _executed_tokens(workspace: Workspace, ledger: duckdb.DuckDBPyConnection) -> Finding:
    return checks.executed_tokens_match(ledger, workspace.study.slack)


QUESTIONS = {
    PROXY_CHECKPOINTS.name: Question(
        "executed_tokens_equal_the_mixture",
        "Every proxy drew each domain within one window of its weight, or a trainer's tolerance.",
        _executed_tokens,
    ),
    PROXY_LOSSES.name: Question(
        "every_loss_is_finite",
        "Every proxy that was evaluated has a finite final loss with a standard error on every target.",
        lambda workspace, ledger: checks.losses_complete(
            ledger, workspace.targets, so_far=True, with_errors=workspace.study.proxies.trainer is None
        ),
        losses_spread,
    ),
}
"""Asset -> its question."""


def check_specs(stage: Stage, names: StudyNames) -> list[dg.AssetCheckSpec]:
    """The check of a stage's question, for its asset's definition; none where there is no question."""
    question = QUESTIONS.get(stage.name)
    if question is None:
        return []
    key = names.asset_key(stage)
    return [dg.AssetCheckSpec(question.check, asset=key, blocking=True, description=question.description)]
