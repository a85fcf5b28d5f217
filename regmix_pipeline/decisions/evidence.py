"""The evidence of a decision, as it was: found by the versions that its record names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.decisions.find import Decision, record_named
from regmix_pipeline.engine.records import UNPARTITIONED, Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, RegressionError
from regmix_pipeline.files import damage_of, read_json, sha256_of
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import of_phases
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.region import Region
from regmix_pipeline.search.stage import with_former_domains
from regmix_pipeline.study.coordinates import domains_of
from regmix_pipeline.study.phases_of_decision import chosen_together
from regmix_pipeline.study.settings.search import SearchSettings

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What a decision was searched on.

    Attributes:
        decision: the record.
        fitted: the regressors of then.
        noise: rows of the noise floor.
        inventory: domain or target -> its row of the inventory.
        optimum: the search's answer, JSON.
        regressor, searched, counted: records of regressor, optimal_mixture and domain_inventory.
    """

    decision: Decision
    fitted: FittedRegressor
    noise: list[dict[str, Any]]
    inventory: dict[str, dict[str, Any]]
    optimum: dict[str, Any]
    regressor: Record
    searched: Record
    counted: Record

    @property
    def domains(self) -> tuple[str, ...]:
        """Columns of every array of weights: the regressor's domains, former ones too."""
        return self.fitted.domains

    @property
    def target_weights(self) -> dict[str, float]:
        """Target -> share of the objective that was searched."""
        return self.optimum["objective"]

    @cached_property
    def settings(self) -> SearchSettings:
        """How it was searched."""
        return SearchSettings.model_validate(self.searched.settings["search"])

    @property
    def seed(self) -> int:
        """Seed of the search."""
        return self.searched.settings["seed"]

    @cached_property
    def prior_and_limits(self) -> tuple[Array, Limits]:
        """Natural distribution (d,) and limits over `domains`; former domains may hold nothing."""
        rows = {name: row for name, row in self.inventory.items() if row["role"] == "domain"}
        # The regressor lists the study's domains first, in the study's order, then former ones.
        names = tuple(name for name in domains_of(self.domains) if name in rows)
        prior, caps, floors = (np.array([rows[name][what] for name in names]) for what in ("prior", "cap", "floor"))
        prior, limits = of_phases(prior, Limits(names, caps, floors), chosen_together(self.decision))
        return with_former_domains(prior, limits, self.domains)

    @cached_property
    def region(self) -> Region:
        """Where the answer might lie."""
        prior, limits = self.prior_and_limits
        return Region.of(limits, prior / prior.sum(), self.fitted.weights, self.settings)

    @cached_property
    def references(self) -> dict[str, Mixture]:
        """natural and uniform, as near as the caps of then allowed, and best_observed."""
        from regmix_pipeline.search.best import named_mixtures

        prior, limits = self.prior_and_limits
        return named_mixtures(self.fitted, prior, limits, self.target_weights)

    @cached_property
    def objective(self) -> Objective:
        """What was minimised."""
        natural = self.references["natural"].vector(self.domains)
        return Objective.of(self.fitted, self.target_weights, natural, self.settings)

    @cached_property
    def chosen(self) -> Array:
        """The chosen mixture, (d,)."""
        return Mixture.from_weights(self.decision["mixture"]["weights"]).vector(self.domains)


_FROM_BACKUP = "restore records/history of the home from a backup"
_AGAIN = "`regmix run` makes it again, since this is the current decision"


def evidence_behind(workspace: Workspace, decision: Decision) -> Evidence:
    """The evidence of a decision of this home.

    Raises:
        LedgerError: a record or file is gone, was altered, or was written by a version that cannot be read any more.
    """
    from regmix_pipeline.regression.fitted import FittedRegressor

    regressor, searched, counted = (
        recorded(workspace, decision, asset) for asset in ("regressor", "optimal_mixture", "domain_inventory")
    )
    folder = _file(workspace, decision, regressor, "regressor.json").parent
    try:
        fitted = FittedRegressor.load(folder)
    except RegressionError as error:
        raise LedgerError(
            f"the regressor of {decision['decision']} cannot be read: {error.problem}",
            where=error.where,
            remedy="use the version of this package that took the decision",
        ) from error
    inventory = read_json(_file(workspace, decision, counted, ".json"))["sources"]
    return Evidence(
        decision,
        fitted,
        read_json(_file(workspace, decision, regressor, "noise.json")),
        {row["source"]: row for row in inventory},
        read_json(_file(workspace, decision, searched, ".json")),
        regressor,
        searched,
        counted,
    )


def recorded(workspace: Workspace, decision: Decision, asset: str, key: str = UNPARTITIONED) -> Record:
    """The record of what a decision is based on, in the version that the decision names.

    Raises:
        LedgerError: the decision names none, or its record is gone.
    """
    found = record_named(workspace, decision, asset, key)
    if found is not None:
        return found
    place = f"{asset}/{key}"
    version, current = decision["versions"].get(place), workspace.records.current(asset, key)
    if current is not None and current.version == version:
        return current  # its other name, for good, was lost or damaged
    if version is None:
        raise LedgerError(f"{decision['decision']} names no version of it", where=place, remedy=_FROM_BACKUP)
    raise LedgerError(
        f"{decision['decision']} is based on version {version}, whose record is gone or damaged",
        where=place,
        remedy=_AGAIN if _is_current(workspace, decision) else _FROM_BACKUP,
    )


def _is_current(workspace: Workspace, decision: Decision) -> bool:
    """Whether a run makes again what is lost of a decision's evidence."""
    taken = workspace.records.current("mixture_decision")
    return taken is not None and taken.version == decision["decision"]


def _file(workspace: Workspace, decision: Decision, record: Record, suffix: str) -> Path:
    """An artefact of a record, as it was when it was recorded."""
    name = next((name for name in record.files if name.endswith(suffix)), None)
    place = f"{record.asset}/{record.key}"
    path = workspace.home / (name or f"*{suffix}")
    recorded_sum = record.sums.get(name or "")
    altered = path.is_file() and recorded_sum not in (None, sha256_of(path))
    if path.is_file() and not altered:
        return path
    # A file that can be read and is another one is left as it is by a run: somebody changed it.
    lost = not path.is_file() or bool(damage_of(path))
    raise LedgerError(
        f"the evidence of {decision['decision']} {'was altered' if altered else 'is gone'} "
        f"({place}, version {record.version})",
        where=str(path),
        remedy=_AGAIN
        if lost and _is_current(workspace, decision)
        else f"see `regmix audit {decision['decision']}`, and restore the file from a backup of the home",
    )


def inventory_settings(counted: Record) -> Mapping[str, list[Any]]:
    """Domain -> what the study file said of it: cap, floor, available tokens, prior; None for what it left out."""
    return counted.settings["domains"]
