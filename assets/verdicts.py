"""Approving and rejecting a decision in the Dagster UI: a job whose launchpad asks for word, reason and name."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import dagster as dg
from pydantic import Field

from regmix_pipeline.assets.events import plain_failures
from regmix_pipeline.assets.heads import has_instance, head_of, instance_of
from regmix_pipeline.assets.names import asset_key
from regmix_pipeline.decisions.find import find_decision
from regmix_pipeline.decisions.verdicts import Verdict, Word, add_verdict
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import StudyError
from regmix_pipeline.resources.workspace import WorkspaceResource

PLACEHOLDERS = {"said": "approved or rejected", "reason": "Why? It is kept permanently.", "by": "Your name"}
"""What the launchpad opens with: fields to fill in."""


class VerdictConfig(dg.Config):
    """What is said of which decision, by whom, and why."""

    said: str = Field(default=PLACEHOLDERS["said"], description="approved or rejected")
    reason: str = Field(default=PLACEHOLDERS["reason"], description="Why; kept permanently.")
    by: str = Field(default=PLACEHOLDERS["by"], description="Who says so.")
    decision: str = Field(default="", description="The decision's id, or the start of one. Empty: the current one.")


@dg.op
def record_verdict(context: dg.OpExecutionContext, config: VerdictConfig, workspace: WorkspaceResource) -> None:
    """Keep the verdict beside the decision and in the ledger, and show it on the asset."""
    opened = workspace.open(context.run_id)
    with plain_failures():
        said = _word(config)
        record = find_decision(opened, config.decision or None)
        verdict = add_verdict(opened, record, said, config.reason, config.by, f"Dagster run {context.run_id}")
    context.log_event(observed(opened, verdict, record))


def observed(workspace: Workspace, verdict: Verdict, record: Mapping[str, Any]) -> dg.AssetObservation:
    """A verdict as an observation of the decision, with the journal's head."""
    return dg.AssetObservation(
        asset_key(workspace, "mixture_decision"),
        description=f"{verdict.said} by {verdict.by}: {verdict.reason}",
        metadata={
            "verdict": verdict.said,
            "decision": verdict.decision,
            "by": verdict.by,
            "reason": verdict.reason,
            "summary": record["summary"],
            **head_of(workspace),
        },
    )


def _word(config: VerdictConfig) -> Word:
    """What was said, once every field was filled in."""
    left = [name for name, text in PLACEHOLDERS.items() if getattr(config, name).strip() == text]
    if left:
        raise StudyError(
            f"not filled in: {', '.join(left)}",
            where="ops.record_verdict.config",
            remedy="write in the launchpad what you say (approved or rejected), why, and who you are",
        )
    if config.said not in get_args(Word):
        raise StudyError(
            f"{config.said!r} is not a verdict",
            where="ops.record_verdict.config.said",
            remedy="write approved or rejected",
        )
    return cast("Word", config.said)


def tell_verdict(workspace: Workspace, verdict: Verdict, record: Mapping[str, Any]) -> None:
    """Show a verdict that was given on the command line in the event log of the home's Dagster instance, if it has one.

    A log that cannot be written to is said and no reason to fail: the verdict is on record.
    """
    if not has_instance(workspace.home):
        return
    try:
        with instance_of(workspace.home) as instance:
            instance.report_runless_asset_event(observed(workspace, verdict, record))
    except Exception as error:  # of any storage
        workspace.say(f"Dagster's event log does not show it: {type(error).__name__}: {error}")
