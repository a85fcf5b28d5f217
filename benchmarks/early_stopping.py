"""What stopping proxies early saves, and what it costs in rank, on a study that was run to the end.

    python benchmarks/early_stopping.py HOME [--study studies/demo.yaml] [--pilots 16]

HOME is the study's home after `regmix run`. Nothing is trained: the proxies' losses along the way, which the ledger
holds, are used for those of proxies stopped there. Pilots are finished; the others' final losses are extrapolated from
theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.early_stopping import fit_extrapolation
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.steps import Curves
from regmix_pipeline.regression.training_data import loss_curves, loss_table
from regmix_pipeline.study.settings.regression import RegressionSettings

Array = NDArray[np.float64]
DRAWS = 5
"""Random choices of pilots that figures are the mean of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--study", type=Path, default=Path("studies/demo.yaml"))
    parser.add_argument("--pilots", type=int, default=16)
    arguments = parser.parse_args()
    workspace = Workspace(arguments.study, arguments.home)
    curves = loss_curves(workspace, loss_table(workspace))
    targets = [curve.target for curve in curves]
    counted = [number for number, target in enumerate(targets) if target in workspace.study.objective]
    weights, final = curves[0].weights, np.column_stack([curve.final for curve in curves])
    n = len(final)
    own = regressed(weights, final, final, workspace.domains, targets)
    print(
        f"{n} proxies, {arguments.pilots} of them pilots, {len(targets)} targets; mean of {DRAWS} choices of pilots\n"
    )
    head = ("stopped at", "tokens saved", "error / spread", "rank, objective", "mean of targets", "regressor's rank")
    print("".join(f"{name:>17}" for name in head))
    for place, step in enumerate(curves[0].steps[:-1]):
        share = step / curves[0].final_step
        found = np.mean(
            [_stopped(curves, weights, final, place, draw, arguments.pilots, workspace) for draw in range(DRAWS)], 0
        )
        error, rank, regressor = found
        saved = (1 - arguments.pilots / n) * (1 - share)
        print(
            f"{share:>17.1%}{saved:>17.1%}{error[counted].mean():>17.2f}{rank[counted].mean():>17.3f}"
            f"{rank.mean():>17.3f}{regressor[counted].mean():>17.3f}"
        )
    print(f"{'not stopped':>17}{0:>17.1%}{0:>17.2f}{1:>17.3f}{1:>17.3f}{own[counted].mean():>17.3f}")
    _laws(workspace)


def _stopped(
    curves: list[Curves], weights: Array, final: Array, place: int, draw: int, pilots: int, workspace: Workspace
) -> tuple[Array, Array, Array]:
    """Error over spread, rank correlation of the extrapolated with the measured losses, and the regressor's, each
    (T,)."""
    order = np.random.default_rng(draw).permutation(len(final))
    first, rest = order[:pilots], order[pilots:]
    at_stop = np.column_stack([curve.losses[:, place] for curve in curves])
    targets = [curve.target for curve in curves]
    line = fit_extrapolation(targets, at_stop[first], final[first])
    extrapolated = line.intercept + line.slope * at_stop
    rank = spearman(extrapolated[rest], final[rest])
    extrapolated[first] = final[first]
    relative = np.array(list(line.relative_error.values()))
    return relative, rank, regressed(weights, extrapolated, final, workspace.domains, targets)


def regressed(weights: Array, losses: Array, truth: Array, domains: list[str], targets: list[str]) -> Array:
    """Rank correlation, out of fold, of a regressor fitted to ``losses`` with the measured ones, (T,)."""
    settings = RegressionSettings(regressors=("saturation",), extrapolation="off", step_laws=False)
    fitted = fit(weights, losses, None, domains, targets, settings, say=lambda line: None)
    return spearman(fitted.out_of_fold, truth)


def _laws(workspace: Workspace) -> None:
    """Step laws as the ledger scores them, on the objective's targets."""
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute(
            "select law, share_of_steps, avg(spearman), avg(rmse / deviation) from current_step_laws "
            "where list_contains(?, target) group by all order by law, share_of_steps",
            [list(workspace.study.objective)],
        ).fetchall()
    print("\nstep laws, objective's targets: rank correlation with the measured final losses (error / spread)\n")
    shares = sorted({row[1] for row in rows})
    print(f"{'law':<10}" + "".join(f"{share:>16.1%}" for share in shares))
    for law in dict.fromkeys(row[0] for row in rows):
        cells = {row[1]: f"{row[2]:.3f} ({row[3]:.2f})" for row in rows if row[0] == law}
        print(f"{law:<10}" + "".join(f"{cells.get(share, '-'):>16}" for share in shares))


if __name__ == "__main__":
    main()
