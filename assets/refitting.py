"""Bring a study up to date within a budget of training tokens: whatever would be trained counts."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.assets.runner import StageRun, run_stale
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.planning.forecast.forecast import forecast_of
from regmix_pipeline.report.stage import MIXTURE_REPORT
from regmix_pipeline.search.further import adopt_proposals
from regmix_pipeline.stages import DATA, STAGES, up_to
from regmix_pipeline.strategies.stage import STRATEGY_COMPARISON

COMMAND = "regmix refit"
EVIDENCE = tuple(stage for stage in up_to(MIXTURE_DECISION) if stage not in DATA)


def refit_within(
    workspace: Workspace, allowed: int | None = None, instance: dg.DagsterInstance | None = None
) -> tuple[list[StageRun], list[str]]:
    """Bring the study up to date, then train proposed mixtures in batches until the decision is stable.

    Args:
        workspace: the study on disk.
        allowed: training tokens to spend on everything; default the study's `refit.max_new_tokens`.
        instance: where runs and events go; default the home's own.

    Returns:
        What was made, and what was left out because the budget does not hold it, in words.
    """
    budget = _Budget(workspace, workspace.study.refit.max_new_tokens if allowed is None else allowed, instance)
    while True:
        budget.run(DATA)
        if not (budget.affords("phase_checkpoints") and budget.affords("proxy_checkpoints")):
            return budget.done, budget.left_out
        budget.run(EVIDENCE)
        if not workspace.study.trains:
            break
        adoption = adopt_proposals(budget.workspace.opened_again(), COMMAND, budget.allowed, budget.left)
        workspace.say(adoption.said)
        if not adoption.asked:
            break
    last = list(STAGES[STAGES.index(MIXTURE_DECISION) + 1 :])
    for stage in (CONFIRMATION, STRATEGY_COMPARISON):
        if not budget.affords(stage.name):
            last.remove(stage)
    if CONFIRMATION not in last and budget.workspace.opened_again().records.current(CONFIRMATION.name) is None:
        last.remove(MIXTURE_REPORT)  # it reads the confirmation; one of an earlier decision it calls so
    budget.run(tuple(last))
    return budget.done, budget.left_out


class _Budget:
    """Training tokens, and what was made of them."""

    def __init__(self, workspace: Workspace, allowed: int, instance: dg.DagsterInstance | None) -> None:
        self.instance = instance
        self.workspace, self.allowed, self.left = workspace, allowed, allowed
        self.done: list[StageRun] = []
        self.left_out: list[str] = []

    def affords(self, stage: str) -> bool:
        """Whether what a stage would train is within the budget; then it is adoption off, else said to be left out."""
        found = forecast_of(self.workspace.opened_again()).of(stage)
        if found.tokens <= self.left:
            self.left -= found.tokens
            return True
        said = f"{stage}: {found.models} models on {found.tokens:,} tokens; the budget has {self.left:,} left"
        self.left_out.append(said)
        self.workspace.say(f"left out: {said}")
        return False

    def run(self, stages: tuple[Stage, ...]) -> None:
        """Make what is stale of some stages."""
        self.done += run_stale(self.workspace.opened_again(), stages, COMMAND, self.instance)
