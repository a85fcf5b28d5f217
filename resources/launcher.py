"""Dagster's default launcher, which also reports to Dagster's run monitoring whether the process of a run lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData

from regmix_pipeline.engine.home_lock import Process
from regmix_pipeline.resources import databases as databases  # what it sets holds for the process
from regmix_pipeline.resources.run_locks import BOOT_TAG, HOST_TAG, KILLED, State, state_of


class WatchedRunLauncher(DefaultRunLauncher):
    """`DefaultRunLauncher` for processes that hold run locks, those of `regmix run` among them."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> WatchedRunLauncher:
        """Dagster's constructor."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, and keep in its tags from which machine."""
        here = Process.this("-")
        self._instance.add_run_tags(context.dagster_run.run_id, {HOST_TAG: here.host, BOOT_TAG: here.boot})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster asks after runs that have started."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """What the run's lock says; where it says nothing, the run counts as alive."""
        if state_of(self._instance, run) is State.DEAD:
            return CheckRunHealthResult(WorkerStatus.FAILED, KILLED)
        return CheckRunHealthResult(WorkerStatus.RUNNING)
