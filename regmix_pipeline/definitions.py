"""The entry point for Dagster: assets, checks, sensors, resources. The one module of the method that knows the engine.

How often sensors look and when the schedule runs is read from the study file when the code location is loaded.
"""

from __future__ import annotations

import dagster as dg

import assets
from assets.automation import automation
from assets.schedules import schedules
from assets.sensors import sensors
from assets.up_to_date import up_to_date_checks
from assets.verdicts import judge_decision
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.refit import Refit
from regmix_pipeline.study_file import default_study_file, load_study
from resources.executor import locked_in_process
from resources.lab import LabResource
from resources.ledger import LedgerResource
from resources.trainer import TrainerResource


def _refit_settings() -> Refit:
    """The study's settings; its defaults while the file is wrong: then every sensor says at each look what is wrong."""
    try:
        return load_study(default_study_file()).refit
    except RegmixError:
        return Refit()


def definitions(refit: Refit) -> dg.Definitions:
    """All that Dagster runs, for a study that re-fits as ``refit`` says."""
    trainer = TrainerResource()
    lab = LabResource(trainer=trainer)
    return dg.Definitions(
        assets=dg.load_assets_from_package_module(assets),
        asset_checks=[*dg.load_asset_checks_from_package_module(assets), *up_to_date_checks()],
        sensors=[*sensors(refit.look_seconds), automation(refit.look_seconds)],
        schedules=schedules(refit),
        jobs=[judge_decision],
        resources={"lab": lab, "trainer": trainer, "ledger": LedgerResource(lab=lab)},
        # Assets are few, run one after another and keep their own worker processes: a process per step only adds
        # start-up.
        executor=locked_in_process,
    )


defs = definitions(_refit_settings())
