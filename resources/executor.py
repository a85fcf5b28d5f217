"""Dagster's in-process executor, whose process holds the run's lock for as long as it lives."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from regmix_pipeline.resources.run_locks import RunLock


class LockedExecutor(InProcessExecutor):
    """Runs all steps in this process, which Dagster started for this run alone."""

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Take the lock, and run the steps unless the run was reported as ended before."""
        instance, run = plan_context.instance, plan_context.dagster_run
        if instance.is_persistent:
            # Never given back: between the last step and the run's end the process is running as well.
            RunLock(instance.root_directory, run.run_id).take(f"Dagster run {run.run_id[:8]}")
            now = instance.get_run_by_id(run.run_id)
            if now is not None and now.is_finished:
                raise dg.Failure("the run was ended before it had begun; start it again", allow_retries=False)
        yield from super().execute(plan_context, execution_plan)


@dg.executor(name="in_process")
def locked_in_process(_: dg.InitExecutorContext) -> LockedExecutor:
    """Steps run one after another in the run's own process."""
    return LockedExecutor(RetryMode.ENABLED)
