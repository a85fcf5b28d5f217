"""Stage 7, regressor: loss as a function of the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import fingerprint, folder_written_atomically, write_json
from regmix_pipeline.lab import Lab, Output, Stage
from regmix_pipeline.ledger.build import read_ledger
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.imports import imported_runs
from regmix_pipeline.regression.settings import RegressionSettings

if TYPE_CHECKING:
    import polars as pl

CODE_VERSION = "1"


@dataclass(frozen=True)
class LossTable:
    """What the regressor learns from.

    Attributes:
        mixtures: mixture ids, length n.
        weights: shape (n, d), in the order of the study's domains.
        losses: final losses in nats per token, mean over seeds, shape (n, T), in the order of the study's targets.
        standard_errors: of those means over evaluation windows, shape (n, T); None where an imported run has none.
    """

    mixtures: list[str]
    weights: NDArray[np.float64]
    losses: NDArray[np.float64]
    standard_errors: NDArray[np.float64] | None


def loss_table(lab: Lab) -> LossTable:
    """The current proxies' final losses, joined to their mixtures by id.

    Raises:
        RegressionError: a mixture lacks a loss.
    """
    mixtures = current_mixtures(lab) | {run.mixture.id: run.mixture for run in imported_runs(lab)}
    with read_ledger(lab.ledger) as connection:
        measured = connection.sql(
            "select mixture, target, avg(loss) as loss, "
            "sqrt(sum(standard_error ** 2)) / count(standard_error) as standard_error "
            "from current_proxy_losses where final group by mixture, target"
        ).pl()
    losses = _by_mixture(measured, "loss", list(mixtures), lab.targets)
    missing = np.argwhere(np.isnan(losses))
    if len(missing):
        row, column = missing[0]
        raise RegressionError(
            f"{len(missing)} losses are missing, first {list(mixtures)[row]} on {lab.targets[column]}",
            where="proxy_losses",
            remedy="materialise proxy_losses: failed proxies are trained again",
        )
    errors = _by_mixture(measured, "standard_error", list(mixtures), lab.targets)
    weights = np.array([mixture.vector(lab.domains) for mixture in mixtures.values()])
    return LossTable(list(mixtures), weights, losses, None if np.isnan(errors).any() else errors)


def _by_mixture(
    measured: pl.DataFrame, value: str, mixtures: Sequence[str], targets: Sequence[str]
) -> NDArray[np.float64]:
    """A column of long rows (mixture, target, value) as an array (n, T) in the order asked; NaN where absent."""
    import polars as pl

    wide = measured.pivot(on="target", on_columns=list(targets), index="mixture", values=value)
    rows = pl.DataFrame({"mixture": list(mixtures)}).join(wide, on="mixture", how="left", maintain_order="left")
    return rows.select(pl.col(target).cast(pl.Float64).fill_null(float("nan")) for target in targets).to_numpy()


def _wanted(lab: Lab) -> dict[str, Recipe]:
    inputs = lab.versions("mixtures") | lab.versions("proxy_losses", list(current_mixtures(lab)))
    if lab.study.imports:
        inputs |= lab.versions("imported_runs")
    settings = {
        "regression": lab.study.regression.model_dump(mode="json"),
        "targets": lab.targets,
        "domains": lab.domains,
        "seed": lab.study.seed,
        "code": CODE_VERSION,
    }
    return {WHOLE: Recipe(inputs, settings)}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.fitting import fit

    table = loss_table(lab)
    settings: RegressionSettings = lab.study.regression
    fitted = fit(
        table.weights,
        table.losses,
        table.standard_errors,
        lab.domains,
        lab.targets,
        settings,
        lab.study.seed,
        lab.workers,
        lab.say,
    )
    version = fingerprint("regressor", recipes[WHOLE].id)
    folder = lab.path("regressors", version)
    with folder_written_atomically(folder) as temporary:
        fitted.save(temporary)
        write_json(temporary / "scores.json", {"chosen": fitted.chosen, "scores": fitted.scores})
    lab.write_rows("regressor_scores", version, fitted.scores)
    lab.write_rows(
        "out_of_fold",
        version,
        [
            {
                "mixture": mixture,
                "target": target,
                "loss": float(table.losses[i, j]),
                "predicted": float(fitted.out_of_fold[i, j]),
            }
            for i, mixture in enumerate(table.mixtures)
            for j, target in enumerate(lab.targets)
        ],
    )
    spearman = {
        row["target"]: row["value"]
        for row in fitted.scores
        if row["chosen"] and row["metric"] == "spearman" and row["split"] == "random"
    }
    facts = {
        "rows": len(table.mixtures),
        "chosen": fitted.chosen,
        "out-of-fold spearman": spearman,
        "lowest spearman of the objective": min(spearman[target] for target in lab.study.objective),
    }
    yield Output(WHOLE, version, facts, [folder / "regressor.json", folder / "scores.json"])


REGRESSOR = Stage("regressor", ("proxy_losses", "mixtures", "imported_runs"), None, CODE_VERSION, _wanted, _make)
