"""MLflow: an experiment per study, a run per proxy, tagged with the mixture's weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.trackers.tracker import TrackedRun, checked_options, not_installed

BATCH = 1000
"""Metrics that a server takes at once."""
UNFINISHED = "RUNNING"
"""Status of a run whose proxy trains, or was cut short."""


class MLflow:
    """Options: ``uri`` of the tracking server (default $MLFLOW_TRACKING_URI) and ``experiment`` (default the study's
    name)."""

    live = True

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        given = checked_options("mlflow", options, ["uri", "experiment"])
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise not_installed("mlflow", error) from error
        self.client, self.experiment = MlflowClient(given.get("uri")), given.get("experiment", study)
        self._open: dict[str, tuple[str, int]] = {}

    def send(self, run: TrackedRun) -> None:
        """See `Tracker.send`."""
        from mlflow.entities import Metric, Param

        # Taken out: after an error the server is asked what it has.
        number, last = self._open.pop(run.proxy, ("", 0))
        there: dict[str, int] = {}
        if not number:
            number, there = self._continued(run) or (self._begun(run), {})
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, step)
            for step, values in run.series(last)
            for name, value in values.items()
            if step > there.get(name, 0)
        ]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(number, metrics=metrics[first : first + BATCH])
        if not run.finished:
            self._open[run.proxy] = number, run.last_step
            return
        self.client.log_batch(number, params=[Param(name, str(value)) for name, value in run.settings.items()])
        self.client.set_terminated(number)

    def _continued(self, run: TrackedRun) -> tuple[str, dict[str, int]] | None:
        """The server's unfinished run, and the last step that it has of each series. A finished one is deleted."""
        found = None
        for before in self.client.search_runs([self._experiment()], f"tags.`regmix.proxy` = '{run.proxy}'"):
            if found is not None or before.info.status != UNFINISHED:
                self.client.delete_run(before.info.run_id)
                continue
            number = before.info.run_id
            history = {name: self.client.get_metric_history(number, name) for name in before.data.metrics}
            found = number, {name: max(metric.step for metric in metrics) for name, metrics in history.items()}
        return found

    def _begun(self, run: TrackedRun) -> str:
        tags = {"regmix.study": run.study, "regmix.proxy": run.proxy, "regmix.mixture": run.mixture}
        tags |= {f"weight.{name}": f"{weight:.6f}" for name, weight in run.weights.items()}
        return self.client.create_run(self._experiment(), run_name=run.proxy, tags=tags).info.run_id

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        return found.experiment_id if found is not None else self.client.create_experiment(self.experiment)
