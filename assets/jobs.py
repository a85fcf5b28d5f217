"""Named jobs: what `regmix run` and `regmix refit` do, or a part of it, by one click.

A job is one step that brings stages up to date as the command does: only what is stale is made, in runs of its own,
which show the assets. Dagster would ask for the partitions of an asset job at its launch, and a study's mixtures are
not known before its data are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from regmix_pipeline.assets.alerts import STUDY
from regmix_pipeline.assets.events import plain_failures
from regmix_pipeline.assets.names import StudyNames
from regmix_pipeline.assets.refitting import EVIDENCE, refit_within
from regmix_pipeline.assets.runner import run_stale
from regmix_pipeline.assets.verdicts import record_verdict
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.planning.forecast.cap import check_cap
from regmix_pipeline.planning.forecast.forecast import forecast_of
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.report.stage import MIXTURE_REPORT
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.stages import DATA

TRAINING = (PHASE_CHECKPOINTS, PROXY_CHECKPOINTS, PROXY_LOSSES)
DECIDING = tuple(stage for stage in EVIDENCE if stage not in TRAINING)


class Launch(dg.Config):
    """What a launch may take."""

    max_new_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Training tokens that this launch may take. Left out: refit takes the study's "
        "refit.max_new_tokens, train_proxies whatever its proxies ask.",
    )


def named_jobs(names: StudyNames, resources: Mapping[str, Any]) -> list[dg.JobDefinition]:
    """prepare_data, train_proxies, decide, refit, and judge_decision, with the study's resources."""

    def job(name: str, description: str, op: dg.OpDefinition) -> dg.JobDefinition:
        @dg.job(
            name=names.of_location(name),
            description=description,
            tags={STUDY: names.study},
            resource_defs={"workspace": resources["workspace"]},
        )
        def made() -> None:
            op()

        return made

    return [
        job("prepare_data", "Read, tokenise and count what is stale of the text, and draw the mixtures.", prepare),
        job("train_proxies", "Train and measure stale proxies; `max_new_tokens` caps the launch.", train),
        job("decide", "Fit, search and decide from the proxies that are there. Trains nothing.", decide_now),
        job(
            "refit",
            "Bring the study up to date within a budget of training tokens, then train proposed mixtures until the "
            "decision is stable, as `regmix refit`.",
            refit_study,
        ),
        job(
            "judge_decision",
            "Approve or reject a decision, with a reason. What was said before stays on record.",
            record_verdict,
        ),
    ]


@dg.op(name="bring_data_up_to_date")
def prepare(context: dg.OpExecutionContext, workspace: WorkspaceResource) -> None:
    """The data stages."""
    _run(context, workspace.open(context.run_id), DATA)


@dg.op(name="train_and_measure")
def train(context: dg.OpExecutionContext, config: Launch, workspace: WorkspaceResource) -> None:
    """Proxies and their losses, if their tokens are within the cap."""
    opened = workspace.open(context.run_id)
    with plain_failures():
        check_cap(opened, config.max_new_tokens, PHASE_CHECKPOINTS, PROXY_CHECKPOINTS)
    _run(context, opened, TRAINING)


@dg.op(name="fit_and_decide")
def decide_now(context: dg.OpExecutionContext, workspace: WorkspaceResource) -> None:
    """The regressor, the search, the decision; and the report, unless larger models wait to be trained for the first
    time."""
    opened = workspace.open(context.run_id)
    _run(context, opened, DECIDING)
    opened = opened.opened_again()
    with plain_failures():
        waits = forecast_of(opened).of(CONFIRMATION.name).tokens > 0
    if not waits:
        _run(context, opened, (CONFIRMATION, MIXTURE_REPORT))
    elif opened.records.current(CONFIRMATION.name) is not None:
        _run(context, opened, (MIXTURE_REPORT,))


@dg.op(name="refit_within_budget")
def refit_study(context: dg.OpExecutionContext, config: Launch, workspace: WorkspaceResource) -> None:
    """As `regmix refit`."""
    opened = workspace.open(context.run_id)
    with plain_failures():
        _, left_out = refit_within(opened, config.max_new_tokens, instance=context.instance)
    for line in left_out:
        context.log.warning(f"left out: {line}")


def _run(context: dg.OpExecutionContext, workspace: Workspace, stages: Sequence[Stage]) -> None:
    with plain_failures():
        done = run_stale(workspace, stages, f"the job {context.job_name}", instance=context.instance)
    for each in done:
        context.log.info(f"{each.stage}: {len(each.stale)} of {each.keys} made" if each.stale else f"{each.stage}: -")
