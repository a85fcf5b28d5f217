"""The schedule: regressor, search, decision and report follow what changed, when the study says so."""

import dagster as dg

from regmix_pipeline.assets.asking import running
from regmix_pipeline.assets.names import StudyNames, names_of
from regmix_pipeline.assets.sensors import AWAITED
from regmix_pipeline.assets.triggers import WHY
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.phase_checkpoints import PHASE_CHECKPOINTS
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.report.stage import MIXTURE_REPORT
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.search.further import adopt_proposals
from regmix_pipeline.stages import FIT
from regmix_pipeline.status import confirmation_tokens, larger_proxies_cost, study_status
from regmix_pipeline.study.settings.refit import Refit

EVIDENCE = (*AWAITED, PHASE_CHECKPOINTS, PROXY_CHECKPOINTS, PROXY_LOSSES)
DECISION = (*FIT, MIXTURE_DECISION)
TARGETS = (*DECISION, CONFIRMATION, MIXTURE_REPORT)


def schedules(
    settings: Refit, names: StudyNames, workspace: WorkspaceResource, *, on: bool = True
) -> list[dg.ScheduleDefinition]:
    """The schedule `refit` at the study's cron; where ``on``, it runs unless somebody stops it. None without a cron."""
    if settings.cron is None:
        return []
    targets = names.asset_keys(TARGETS)

    @dg.schedule(
        name=names.of_location("refit"),
        cron_schedule=settings.cron,
        execution_timezone=settings.timezone,
        target=targets,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
    )
    def refit(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Fit, search, decide and report again when anything they are based on changed; otherwise say why not."""
        going = running(context.instance, targets)
        if going is not None:
            return dg.SkipReason(f"{going} makes the decision already")
        return what_to_refit(workspace.open())

    return [refit]


def what_to_refit(workspace: Workspace) -> dg.RunRequest | dg.SkipReason:
    """One run of what is stale, by the study's own fingerprints, or why there is nothing to run.

    A confirmation trains larger models: it is part of the run only when its tokens are within the study's budget.
    """
    evidence = study_status(workspace, *EVIDENCE).of(*EVIDENCE)
    if evidence:
        return dg.SkipReason(f"the evidence is not complete: {evidence}")
    stages, spared = list(DECISION), ""
    tokens, allowed = confirmation_tokens(workspace), workspace.study.refit.max_new_tokens
    larger = larger_proxies_cost(workspace)
    if larger.tokens > allowed:
        said = f"size_runs: {larger}; the study's budget (refit.max_new_tokens) is {allowed:,}"
        return dg.SkipReason(f"{said}, so the decision waits for a click on size_runs")
    if tokens <= allowed or not study_status(workspace, CONFIRMATION).of(CONFIRMATION):
        stages += [CONFIRMATION, MIXTURE_REPORT]
    else:
        spared = f"the confirmation asks {tokens:,} tokens, the study's budget is {allowed:,}: it waits for a click"
        if workspace.records.current(CONFIRMATION.name) is not None:
            # The page says then that this decision was not confirmed yet.
            stages.append(MIXTURE_REPORT)
    stale = study_status(workspace, *stages)
    stale_stages = [stage for stage in stages if stage.name in stale.stale]
    if not stale_stages and stale.blocked:
        return dg.SkipReason(stale.of(*stages))
    if not stale_stages:
        nothing = "nothing changed since the last decision, so there is nothing to fit"
        further = adopt_proposals(workspace, "schedule refit").said if workspace.study.trains else ""
        return dg.SkipReason("; ".join(filter(None, [nothing, spared, further])))
    first = stages.index(stale_stages[0])
    why = stale.of(*stale_stages)
    return dg.RunRequest(
        asset_selection=names_of(workspace).asset_keys(stages[first:]),
        tags={WHY: why[:250], **({"regmix/spared": spared[:250]} if spared else {})},
    )
