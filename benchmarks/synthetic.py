"""How much strategies and regressors lose on synthetic worlds, whose best mixture is known.

    python benchmarks/synthetic.py [--worlds 20] [--first 0] [--presets easy ...] [--budgets 16 ...] [--only NAME ...]
        [--out FILE]

For every preset, budget (in proxies) and world: the regret of each strategy's target run over the optimum's, as a share
of what the optimum gains over the natural mixture. 0 is the optimum, 1 the natural mixture. Printed as mean and
standard error over worlds, as Markdown; every single figure goes into the Parquet. Strategies whose answer does not
depend on the budget run once a world. Budgets are worked off in the order given; with --minutes, what is finished by
then is printed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl

from regmix_pipeline.errors import RegmixError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.strategies.arena import Choice, Strategy
from regmix_pipeline.strategies.catalogue import STRATEGIES
from regmix_pipeline.strategies.methods.ours import OneRegressor, OneShot, Ours
from regmix_pipeline.strategies.methods.regmix import RegMix
from regmix_pipeline.strategies.methods.regmix_d import RegMixD
from regmix_pipeline.strategies.methods.regmix_small import RegMixSmall
from regmix_pipeline.strategies.synthetic.presets import PRESETS
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.regression import RegressionSettings

BUDGETS = (16, 32, 64, 128, 256)
FLOOR = "proxy_optimum"
"""The mixture that is best at the proxies' size, known exactly: what it loses at the target's size is lost however well
proxies are fitted."""
ALIKE = "ours_all_alike"
"""`ours` with a search among regressors that are fitted to all runs alike."""
ASSUMED = "ours_assumed_epochs"
"""`ours` where what repetition is worth is not fitted."""
FREE = (FLOOR, "natural", "uniform", "human", "unimax", "doremi", "odm")
"""Strategies whose answer does not depend on the budget, as long as it pays for their few runs."""
CANDIDATES, TOP = 20_000, 26
"""Of RegMix's simulation; published are 100,000 and 128."""


def regressors() -> list[str]:
    """Every regressor of the package's catalogue that needs no text."""
    from regmix_pipeline.regression.catalogue import NGRAMS, REGRESSORS

    return [name for name in REGRESSORS if name not in NGRAMS]


def strategy(name: str) -> Strategy:
    """A strategy as it is measured here: a fifth of RegMix's candidates, of which as large a share is averaged."""
    if name == ALIKE:
        return Ours(workers=1, regression=RegressionSettings(near=0))
    if name == ASSUMED:
        return Ours(workers=1, regression=RegressionSettings(repetition="assume"))
    if name in ("ours", "ours_one_shot"):
        return (Ours if name == "ours" else OneShot)(workers=1)
    if name in ("regmix", "regmix_small"):
        return (RegMix if name == "regmix" else RegMixSmall)(candidates=CANDIDATES, top_k=TOP)
    if name == "regmix_d":
        return RegMixD(candidates=CANDIDATES, top_k=TOP)
    return STRATEGIES[name]() if name in STRATEGIES else OneRegressor(name)


@lru_cache(maxsize=256)
def world_of(preset: str, seed: int) -> SyntheticWorld:
    """A world with its optimum, kept for what comes next."""
    world = SyntheticWorld(preset, seed)
    world.optimum()
    return world


def measured(preset: str, seed: int, proxies: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of one world: preset, world, proxies, name, regret (nats), share, seconds, spent (in proxies)."""
    from threadpoolctl import threadpool_limits

    rows = []
    with threadpool_limits(1):
        world = world_of(preset, seed)
        for name in names:
            arena, started = world.fresh(), time.process_time()
            try:
                if name == FLOOR:
                    choice = Choice.of(arena.optimum(arena.proxy))
                else:
                    choice = strategy(name).choose(arena, proxies * arena.proxy.flops, seed)
            except RegmixError as error:
                print(f"{preset} {seed} {proxies} {name}: {error}", flush=True)
                continue
            seconds = time.process_time() - started
            regret, share = world.regret(choice)
            spent = arena.account.flops / arena.proxy.flops
            row = {"preset": preset, "world": seed, "proxies": proxies, "name": name}
            rows.append({**row, "regret": regret, "share": share, "seconds": seconds, "spent": spent})
    return rows


def table(rows: pl.DataFrame, preset: str, names: Sequence[str]) -> Iterator[str]:
    """A preset's Markdown table, a strategy a line and a budget a column, in per cent."""
    budgets = sorted(rows["proxies"].unique())
    worlds = {budget: rows.filter(pl.col("proxies") == budget)["world"].n_unique() for budget in budgets}
    yield f"| {preset} | " + " | ".join(f"{budget} ({worlds[budget]} worlds)" for budget in budgets) + " |"
    yield "|---|" + "---:|" * len(budgets)
    for name in names:
        of_name = rows.filter(pl.col("name") == name)
        cells = []
        for budget in budgets:
            at_budget = of_name if name in FREE else of_name.filter(pl.col("proxies") == budget)
            found = at_budget["share"].to_numpy() * 100
            error = found.std(ddof=1) / len(found) ** 0.5 if len(found) > 1 else float("nan")
            cells.append(f"{found.mean():.1f} ± {error:.1f}" if len(found) else "")
        if any(cells):
            yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first world")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--only", nargs="+", choices=[FLOOR, ALIKE, ASSUMED, *STRATEGIES, *regressors()])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, help="stop after this long, with what there is")
    parser.add_argument("--out", type=Path, help="a Parquet of every figure")
    asked = parser.parse_args()
    names = asked.only or [FLOOR, *STRATEGIES, *regressors()]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(asked.workers) as pool:
        jobs = [
            pool.submit(measured, preset, seed, budget, [name for name in names if not (number and name in FREE)])
            for number, budget in enumerate(asked.budgets)
            for seed in range(asked.first, asked.first + asked.worlds)
            for preset in asked.presets
        ]
        try:
            for number, job in enumerate(as_completed(jobs, timeout=asked.minutes and asked.minutes * 60)):
                rows += job.result()
                print(f"{number + 1} of {len(jobs)}", flush=True)
                if asked.out and rows:
                    with written_atomically(asked.out) as temporary:
                        pl.DataFrame(rows).write_parquet(temporary)
        except TimeoutError:
            print("time is up: what is under way is finished")
            pool.shutdown(wait=True, cancel_futures=True)
    found = pl.DataFrame(rows)
    for preset in asked.presets:
        of_preset = found.filter(pl.col("preset") == preset)
        if len(of_preset):
            print("\nregret in % of the optimum's gain over the natural mixture, mean ± standard error over worlds\n")
            print("\n".join(table(of_preset, preset, names)))


if __name__ == "__main__":
    main()
