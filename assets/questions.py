"""What must hold of the partitioned assets of proxies, asked of the ledger at the end of every run that makes some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb

from assets.names import StudyNames
from assets.pictures import losses_spread
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger import audit
from regmix_pipeline.ledger.audit import Finding
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES


@dataclass(frozen=True)
class Question:
    """A blocking check of an asset that reports its partitions one by one.

    Attributes:
        check: its name.
        description: what holds when it passes.
        finding: the answer, from the lab and the ledger.
        picture: metadata of the check's result, where all partitions are seen at once.
    """

    check: str
    description: str
    finding: Callable[[Lab, duckdb.DuckDBPyConnection], Finding]
    picture: Callable[[Lab], Mapping[str, Any]] | None = None


def _executed_tokens(lab: Lab, ledger: duckdb.DuckDBPyConnection) -> Finding:
    proxies = lab.study.proxies
    return audit.executed_tokens_match(ledger, proxies.training_settings.slack(proxies.model_settings.context))


QUESTIONS = {
    PROXY_CHECKPOINTS.name: Question(
        "executed_tokens_equal_the_mixture",
        "Every proxy drew each domain within one window of its weight.",
        _executed_tokens,
    ),
    PROXY_LOSSES.name: Question(
        "every_loss_is_finite",
        "Every proxy that was evaluated has a finite final loss with a standard error on every target.",
        lambda lab, ledger: audit.losses_complete(ledger, lab.targets, so_far=True),
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
