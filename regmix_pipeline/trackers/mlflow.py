"""MLflow: an experiment per study, a run per proxy, tagged with the mixture's weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.trackers.tracker import TrackedRun, checked_options, not_installed

BATCH = 1000
"""Metrics that a server takes at once."""


class MLflow:
    """Options: ``uri`` of the tracking server (default $MLFLOW_TRACKING_URI) and ``experiment`` (default the study's
    name)."""

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        given = checked_options("mlflow", options, ["uri", "experiment"])
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise not_installed("mlflow", error) from error
        self.client, self.experiment = MlflowClient(given.get("uri")), given.get("experiment", study)

    def send(self, run: TrackedRun) -> None:
        """See `Tracker.send`."""
        from mlflow.entities import Metric, Param, RunTag

        experiment = self._experiment()
        for before in self.client.search_runs([experiment], f"tags.`regmix.proxy` = '{run.proxy}'"):
            self.client.delete_run(before.info.run_id)  # of a sending that was cut short
        made = self.client.create_run(experiment, run_name=run.proxy).info.run_id
        now = int(time.time() * 1000)
        tags = {"regmix.study": run.study, "regmix.proxy": run.proxy, "regmix.mixture": run.mixture}
        tags |= {f"weight.{name}": f"{weight:.6f}" for name, weight in run.weights.items()}
        settings = [Param(name, str(value)) for name, value in run.settings.items()]
        self.client.log_batch(made, params=settings, tags=[RunTag(*tag) for tag in tags.items()])
        metrics = [Metric(name, value, now, step) for step, values in run.series() for name, value in values.items()]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(made, metrics=metrics[first : first + BATCH])
        self.client.set_terminated(made)

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        return found.experiment_id if found is not None else self.client.create_experiment(self.experiment)
