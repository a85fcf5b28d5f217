"""How much rounds of mixtures, and a cautious search, are worth on synthetic worlds whose best mixture is known.

    python benchmarks/rounds.py [--worlds 8] [--presets easy ...] [--proxies 32 64] [--only NAME ...] [--out FILE]

For every way of spending the same proxies: the regret of the target run over the optimum's, as a share of what the
optimum gains over the natural mixture, in per cent; mean and standard error over worlds. The answer is the Gaussian
process's own, found by the package's search with 0, 1 and 2 posterior deviations added to what is minimised.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl
from synthetic import world_of

from regmix_pipeline.files import written_atomically
from regmix_pipeline.search import objective as search_objective
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.strategies.arena import Choice
from regmix_pipeline.strategies.methods.experiments import loss_table, objective_counted
from regmix_pipeline.strategies.methods.fitted_one import fitted_one, optimised
from regmix_pipeline.strategies.methods.ours import trained_in_rounds
from regmix_pipeline.strategies.synthetic.presets import PRESETS
from regmix_pipeline.study.settings.mixtures import MixtureSettings, RoundSettings

WAYS = {
    "one shot": RoundSettings(number=1),
    "regret reduction": RoundSettings(),
    "regret reduction, half first": RoundSettings(first=0.5),
    "regret reduction, six rounds": RoundSettings(number=6),
    "thompson": RoundSettings(rule="thompson"),
    "thompson, half first": RoundSettings(rule="thompson", first=0.5),
    "thompson, quarter first": RoundSettings(rule="thompson", first=0.25),
    "thompson, six rounds": RoundSettings(rule="thompson", number=6),
    "lower bound": RoundSettings(rule="lower_bound"),
}
DEVIATIONS = (0.0, 1.0, 2.0)


def measured(preset: str, seed: int, proxies: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of one world: preset, world, proxies, name, deviations, share, seconds."""
    from threadpoolctl import threadpool_limits

    from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw

    rows, usual = [], search_objective.CAUTION
    with threadpool_limits(1):
        world = world_of(preset, seed)
        for name in names:
            arena, started = world.fresh(), time.process_time()
            runs = trained_in_rounds(arena, arena.proxy, MixtureSettings(count=proxies, rounds=WAYS[name]), seed)
            weights, losses, targets = loss_table(arena, runs)
            fitted = fitted_one(arena, "gaussian_process", GaussianProcessLaw(), weights, losses, targets)
            objective = objective_counted(arena)
            for deviations in DEVIATIONS:
                search_objective.CAUTION = deviations
                found = rounded_inside(optimised(arena, fitted, objective, seed), arena.limits)
                row = {"preset": preset, "world": seed, "proxies": proxies, "name": name, "deviations": deviations}
                share = world.regret(Choice.of(found))[1]
                rows.append({**row, "share": share, "seconds": time.process_time() - started})
            search_objective.CAUTION = usual
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument(
        "--presets", nargs="+", choices=list(PRESETS), default=["easy", "interactions", "scarce", "noisy"]
    )
    parser.add_argument("--proxies", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="a Parquet of every figure")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(asked.workers) as pool:
        jobs = [
            pool.submit(measured, preset, seed, proxies, asked.only)
            for seed in range(asked.worlds)
            for proxies in asked.proxies
            for preset in asked.presets
        ]
        for number, job in enumerate(as_completed(jobs)):
            rows += job.result()
            print(f"{number + 1} of {len(jobs)}", flush=True)
            if asked.out:
                with written_atomically(asked.out) as temporary:
                    pl.DataFrame(rows).write_parquet(temporary)
    found = pl.DataFrame(rows)
    for proxies in asked.proxies:
        print(f"\n| {proxies} proxies | deviations | " + " | ".join(asked.presets) + " |")
        print("|---|---:|" + "---:|" * len(asked.presets))
        for name in asked.only:
            for deviations in DEVIATIONS:
                cells = []
                for preset in asked.presets:
                    shares = found.filter(
                        (pl.col("proxies") == proxies)
                        & (pl.col("name") == name)
                        & (pl.col("deviations") == deviations)
                        & (pl.col("preset") == preset)
                    )["share"].to_numpy()
                    error = shares.std(ddof=1) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
                    cells.append(f"{100 * shares.mean():.1f} ± {100 * error:.1f}")
                print(f"| {name} | {deviations:.0f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
