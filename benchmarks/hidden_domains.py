"""Arrival of a domain on RegMix's published tables: hide the runs that drew on it, add a few back.

    python benchmarks/hidden_domains.py FOLDER

FOLDER as for published_tables.py. For each of the 17 domains the law is fitted to the training runs without it, then to
these and a few with it, chosen as `mixtures.arrivals` chooses; that is compared with the law fitted to all 512.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from published_tables import FOCUS, Table, read
from threadpoolctl import threadpool_limits

from regmix_pipeline.mixtures.sampler import spread_over
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.metrics import spearman

Array = NDArray[np.float64]
ABSENT = 0.002
"""Weights are published rounded to a thousandth."""
BACK = (0, 6, 12, 24)
CANDIDATES = 50_000


def _few_targets(table: Table) -> Table:
    """Every third target, the focus among them: the law's fits take minutes for all 13."""
    kept = sorted({table.targets.index(FOCUS), *range(1, len(table.targets), 3)})
    return Table(table.weights, table.losses[:, kept], table.domains, [table.targets[column] for column in kept])


def study(train: Table, test: Table) -> None:
    """One line a domain: rows without it, and rank and gain with 0, 6, 12, 24 of the hidden rows back."""
    train, test = _few_targets(train), _few_targets(test)
    focus = train.targets.index(FOCUS)
    judge = SaturationLaw().fit(train.weights, train.losses)
    prior = train.weights.mean(axis=0)
    pool = np.random.default_rng(0).dirichlet(prior * 5, CANDIDATES)
    value = judge.predict(pool)[:, focus]
    points = np.sqrt(train.weights)
    natural = judge.predict(prior[None])[0, focus]
    best = natural - value.min()
    print(f"Spearman x 100 on the {len(test.losses)} test rows, {FOCUS} (mean of {len(train.targets)} targets);")
    print("share of the gain over the mean mixture that the choice keeps, by the law of all rows\n")
    print(f"{'hidden domain':<20}{'rows left':>10}" + "".join(f"{f'+{count}':>22}" for count in BACK))
    everything: list[list[tuple[float, float, float]]] = []
    for j, domain in enumerate(train.domains):
        known = np.flatnonzero(train.weights[:, j] <= ABSENT)
        rest = np.flatnonzero(train.weights[:, j] > ABSENT)
        found = []
        for count in BACK:
            back = spread_over(points[rest], points[known], j, count)
            rows = [*known.tolist(), *rest[back].tolist()]
            law = SaturationLaw().fit(train.weights[rows], train.losses[rows])
            rank = 100 * spearman(law.predict(test.weights), test.losses)
            kept = (natural - value[law.predict(pool)[:, focus].argmin()]) / best
            found.append((float(rank[focus]), float(rank.mean()), float(kept)))
        everything.append(found)
        cells = "".join(f"{f'{a:.2f} ({b:.1f}) {c:.0%}':>22}" for a, b, c in found)
        print(f"{domain:<20}{len(known):>10}" + cells, flush=True)
    mean = np.mean(everything, axis=0)
    print(f"{'mean':<30}" + "".join(f"{f'{a:.2f} ({b:.1f}) {c:.0%}':>22}" for a, b, c in mean))
    rank = 100 * spearman(judge.predict(test.weights), test.losses)
    print(f"\nall {len(train.losses)} rows: {rank[focus]:.2f} ({rank.mean():.1f})")


def main() -> None:
    folder = Path(sys.argv[1])
    with threadpool_limits(2):
        study(read(folder, "train"), read(folder, "test"))


if __name__ == "__main__":
    main()
