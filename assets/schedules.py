"""The schedule: regressor, search, decision and report follow what changed, when the study says so."""

import dagster as dg

from assets.asking import running
from assets.names import StudyNames, names_of
from assets.sensors import DATA
from assets.triggers import WHY
from regmix_pipeline.decisions.confirmation import CONFIRMATION
from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.lab import Lab
from regmix_pipeline.proxies.earlier_stage import EARLIER_RUNS
from regmix_pipeline.proxies.imports import IMPORTED_RUNS
from regmix_pipeline.proxies.stage import PROXY_CHECKPOINTS, PROXY_LOSSES
from regmix_pipeline.refit import Refit, confirmation_tokens, standing
from regmix_pipeline.regression.stage import REGRESSOR
from regmix_pipeline.report.stage import MIXTURE_REPORT
from regmix_pipeline.search.further import FURTHER_MIXTURES, take_up
from regmix_pipeline.search.stage import OPTIMAL_MIXTURE
from resources.lab import LabResource

EVIDENCE = (*DATA, PROXY_CHECKPOINTS, PROXY_LOSSES)
DECISION = (EARLIER_RUNS, IMPORTED_RUNS, REGRESSOR, OPTIMAL_MIXTURE, FURTHER_MIXTURES, MIXTURE_DECISION)
TARGETS = (*DECISION, CONFIRMATION, MIXTURE_REPORT)


def schedules(settings: Refit, names: StudyNames) -> list[dg.ScheduleDefinition]:
    """The schedule `refit` at the study's cron, running unless somebody stops it; none without a cron."""
    if settings.cron is None:
        return []
    targets = names.asset_keys(TARGETS)

    @dg.schedule(
        cron_schedule=settings.cron,
        execution_timezone=settings.timezone,
        target=targets,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def refit(context: dg.ScheduleEvaluationContext, lab: LabResource) -> dg.RunRequest | dg.SkipReason:
        """Fit, search, decide and report again when anything they rest on changed; otherwise say why not."""
        going = running(context.instance, targets)
        if going is not None:
            return dg.SkipReason(f"run {going[:8]} makes the decision already")
        return what_to_refit(lab.open())

    return [refit]


def what_to_refit(lab: Lab) -> dg.RunRequest | dg.SkipReason:
    """One run of what is stale, by the study's own fingerprints, or why there is nothing to run.

    A confirmation trains larger models: it is part of the run only when its tokens are within the study's budget.
    """
    evidence = standing(lab, *EVIDENCE).of(*EVIDENCE)
    if evidence:
        return dg.SkipReason(f"the evidence is not complete: {evidence}")
    stages, spared = list(DECISION), ""
    tokens, allowed = confirmation_tokens(lab), lab.study.refit.max_new_tokens
    if tokens <= allowed or not standing(lab, CONFIRMATION).of(CONFIRMATION):
        stages += [CONFIRMATION, MIXTURE_REPORT]
    else:
        spared = f"the confirmation asks {tokens:,} tokens, the study's budget is {allowed:,}: it waits for a click"
        if lab.records.current(CONFIRMATION.name) is not None:
            # The page says then that this decision was not confirmed yet.
            stages.append(MIXTURE_REPORT)
    stale = standing(lab, *stages)
    stale_stages = [stage for stage in stages if stage.name in stale.stale]
    if not stale_stages and stale.blocked:
        return dg.SkipReason(stale.of(*stages))
    if not stale_stages:
        nothing = "nothing changed since the last decision, so there is nothing to fit"
        further = take_up(lab, "schedule refit").said if lab.study.trains else ""
        return dg.SkipReason("; ".join(filter(None, [nothing, spared, further])))
    first = stages.index(stale_stages[0])
    why = stale.of(*stale_stages)
    return dg.RunRequest(
        asset_selection=names_of(lab).asset_keys(stages[first:]),
        tags={WHY: why[:250], **({"regmix/spared": spared[:250]} if spared else {})},
    )
