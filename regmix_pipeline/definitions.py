"""The entry point for Dagster: assets, checks and resources. The one module of the method that knows the engine."""

from __future__ import annotations

import dagster as dg

import assets
from resources.lab import LabResource
from resources.ledger import LedgerResource
from resources.trainer import TrainerResource

_trainer = TrainerResource()
_lab = LabResource(trainer=_trainer)

defs = dg.Definitions(
    assets=dg.load_assets_from_package_module(assets),
    asset_checks=dg.load_asset_checks_from_package_module(assets),
    resources={"lab": _lab, "trainer": _trainer, "ledger": LedgerResource(lab=_lab)},
    # Assets are few, run one after another and keep their own worker processes: a process per step only adds start-up.
    executor=dg.in_process_executor,
)
