"""The entry point for Dagster: assets, checks, sensors, resources. The one module of the method that knows the engine.

A study's name, how often sensors look and when the schedule runs are read from the study file when the code location is
loaded. A workspace may have several studies, each a code location of a file that says
``defs = build_definitions("my_study.yaml")``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from regmix_pipeline.assets.alerts import failure_sensor
from regmix_pipeline.assets.automation import automation as conditions
from regmix_pipeline.assets.checks import method_checks
from regmix_pipeline.assets.graph import StaleKeys, asset_definitions
from regmix_pipeline.assets.jobs import named_jobs
from regmix_pipeline.assets.names import names_in
from regmix_pipeline.assets.schedules import schedules
from regmix_pipeline.assets.sensors import sensors
from regmix_pipeline.assets.up_to_date import up_to_date_checks
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.resources.executor import locked_in_process
from regmix_pipeline.resources.ledger import LedgerResource
from regmix_pipeline.resources.trainer import TrainerResource
from regmix_pipeline.resources.workspace import WorkspaceResource
from regmix_pipeline.study.file import default_study_file, load_study
from regmix_pipeline.study.settings.catalogue import CatalogueSettings
from regmix_pipeline.study.settings.refit import Refit

AUTOMATION = "REGMIX_AUTOMATION"
"""Variable: ``off`` where sensors and schedule start stopped."""


def build_definitions(
    study_file: Path | str,
    home: Path | str = "",
    data: Path | str = "",
    workers: int = 0,
    *,
    automation: bool | None = None,
    executor: dg.ExecutorDefinition | None = locked_in_process,
    prefix: str = "",
) -> dg.Definitions:
    """All that Dagster runs for a study. Its asset keys and partitions begin with the study's name.

    Args:
        study_file: the study's YAML.
        home: the study's home; default found by the study file.
        data: folder of downloaded corpora; default $REGMIX_DATA, or data beside the home.
        workers: processes that train at once; 0 takes the study's number.
        automation: whether sensors and schedule start running; default yes, unless $REGMIX_AUTOMATION is off.
        executor: how steps run. Assets are few, run one after another and keep their own worker processes: by default
            all run in the process of their run. None: as the project that this is part of says.
        prefix: begins the names of jobs, sensors, the schedule and resources, where the code location has others.
    """
    names, (refit, catalogue) = replace(names_in(Path(study_file)), prefix=prefix), _settings(study_file)
    resources = _resources(study_file, home, data, workers)
    workspace = resources["workspace"]
    made = [*asset_definitions(names, settings=catalogue), *method_checks(names), *up_to_date_checks(names)]
    on = os.environ.get(AUTOMATION, "on") != "off" if automation is None else automation
    return dg.Definitions(
        # Bound here: what else the location holds needs none of them.
        assets=dg.with_resources(made, {names.of_location(name): resource for name, resource in resources.items()}),
        sensors=[
            *sensors(refit.look_seconds, names, workspace, on=on),
            conditions(refit.look_seconds, names, on=on),
            failure_sensor(names, on=on),
        ],
        schedules=schedules(refit, names, workspace, on=on),
        jobs=named_jobs(names, resources),
        executor=executor,
    )


def command_definitions(
    study_file: Path, home: Path, data: Path, workers: int, stale_keys: StaleKeys
) -> dg.Definitions:
    """What a command runs in its own process: the same assets, of which each makes what is stale of it."""
    names = names_in(study_file)
    return dg.Definitions(
        assets=asset_definitions(names, stale_keys),
        asset_checks=[*method_checks(names), *up_to_date_checks(names)],
        resources=_resources(study_file, home, data, workers),
        executor=dg.in_process_executor,
    )


def _resources(study_file: Path | str, home: Path | str, data: Path | str, workers: int) -> dict[str, Any]:
    trainer = TrainerResource(workers=workers)
    workspace = WorkspaceResource(
        trainer=trainer, study_file=str(Path(study_file).resolve()), home=str(home), data=str(data)
    )
    return {"workspace": workspace, "trainer": trainer, "ledger": LedgerResource(workspace=workspace)}


def _settings(study_file: Path | str) -> tuple[Refit, CatalogueSettings]:
    """The study's settings; its defaults while the file is wrong: then every sensor says at each look what is wrong."""
    try:
        study = load_study(study_file)
    except RegmixError:
        return Refit(), CatalogueSettings()
    return study.refit, study.catalogue


defs = build_definitions(default_study_file())
"""The study of $REGMIX_STUDY, or the demo."""
