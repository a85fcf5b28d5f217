"""What runs of a second size are worth on synthetic worlds, and whether a choice survives the jump to the large run.

    python benchmarks/size_law.py [--worlds 20] [--presets easy ...] [--first 0] [--proxies 48] [--larger 12]
        [--grown 2] [--workers 2] [--out FILE]

In every world, proxies are trained and a few mixtures again with twice the parameters and tokens. Then two answers are
compared at the target's size, 1000 times the parameters: that of the proxies' regressors, and that of the slopes
where the larger runs confirm them. Printed for each preset: regret of both, as a share of what the optimum gains over
the natural mixture, how often either is better, and rank correlations with the target's losses on 400 mixtures that
nobody trained. Then the calibration: how likely the chosen mixture was said to beat the natural one and the runner-up,
how likely mixtures drawn at random were said to beat each other, and how often they do.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from regmix_pipeline.files import written_atomically
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.size_fit import fit_moved
from regmix_pipeline.regression.sizes import SINGLE, ModelSize
from regmix_pipeline.search.region import natural_inside, rounded_inside
from regmix_pipeline.search.survival import runner_up, survival
from regmix_pipeline.strategies.arena import Choice, Size
from regmix_pipeline.strategies.methods.experiments import objective_counted, sampled
from regmix_pipeline.strategies.methods.fitted_one import optimised
from regmix_pipeline.strategies.methods.ours import Ours
from regmix_pipeline.strategies.methods.ours_two_sizes import law_of_larger
from regmix_pipeline.strategies.synthetic.presets import PRESETS
from regmix_pipeline.strategies.synthetic.world import SyntheticWorld
from regmix_pipeline.study.settings.mixtures import MixtureSettings
from regmix_pipeline.study.settings.regression import RegressionSettings

REGRESSION = RegressionSettings(
    regressors=("saturation", "gaussian_process"), extrapolation="off", bootstrap=50, law_share=0.0
)
"""The law and the process alone: a study of this size chooses these nearly always, and a world takes seconds."""
UNSEEN, PAIRS = 400, 12
BINS = (0.0, 0.6, 0.8, 0.95, 1.0)


def larger_than(proxy: Size, grown: float) -> Size:
    """A model of so many times the parameters and tokens."""
    flops = proxy.flops_per_token * grown
    return Size("larger", round(proxy.parameters * grown), round(proxy.tokens * grown), proxy.steps, flops)


def measured(
    preset: str, seed: int, proxies: int, larger: int, grown: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One world: its row, and its rows of chances."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _measured(SyntheticWorld(preset, seed), preset, seed, proxies, larger, grown)


def _measured(
    world: SyntheticWorld, preset: str, seed: int, proxies: int, larger: int, grown: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    runs = world.train(sampled(world, MixtureSettings(count=proxies), seed), world.proxy, seed)
    natural = natural_inside(world.prior, world.limits)
    runs += world.train([natural], world.proxy, seed)
    objective = objective_counted(world)
    fitted = Ours(workers=1, regression=REGRESSION).fitted(world, runs, seed)
    share = fitted.shares(objective)
    shape, target = larger_than(world.proxy, grown), ModelSize(world.target.parameters, world.target.tokens)
    law = law_of_larger(world, fitted, runs, (world.proxy, shape), larger, seed, [natural.id])
    assert law is not None
    single = rounded_inside(optimised(world, fitted, objective, seed), world.limits)
    answer = single
    if law.used != SINGLE:
        moved = fit_moved(
            fitted,
            law,
            target,
            REGRESSION,
            1,
            epochs_per_weight=world.epochs,
            predict_at=world.epochs,
            counted=objective,
        )
        answer = rounded_inside(optimised(world, moved, objective, seed), world.limits)
    unseen = np.array(
        [each.vector(world.domains) for each in sampled(world, MixtureSettings(count=UNSEEN), seed + 1000)]
    )
    truth, predicted = world.true_objective(unseen), fitted.predict(unseen)
    row = {
        "preset": preset,
        "world": seed,
        "used": law.used,
        "single": world.regret(Choice.of(single))[1],
        "law": world.regret(Choice.of(answer))[1],
        "floor": world.regret(Choice.of(world.optimum(world.proxy)))[1],
        "rank_single": _rank(predicted @ share, truth),
        "rank_law": _rank(law.moved(predicted, target) @ share, truth),
        "spent": larger * shape.flops / (proxies * world.proxy.flops),
    }
    return row, _chances(world, fitted, law, target, answer, natural, unseen, objective, preset, seed)


def _rank(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(spearman(predicted[:, None], truth[:, None])[0])


def _chances(
    world: SyntheticWorld,
    fitted: Any,
    law: Any,
    target: ModelSize,
    answer: Mixture,
    natural: Mixture,
    unseen: np.ndarray,
    objective: dict[str, float],
    preset: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Said and true, of the answer against the natural mixture and the runner-up, and of pairs drawn at random."""
    at, nature = answer.vector(world.domains), natural.vector(world.domains)
    second = runner_up(fitted, at, objective, world.limits.allow(fitted.weights))
    rows = survival(fitted, law, target, at, {"natural": nature, "runner-up": second}, objective, seed=seed)
    pairs = [(at, {"natural": nature, "runner-up": second}, rows)]
    for number in range(PAIRS):
        one, other = unseen[2 * number], unseen[2 * number + 1]
        named = {"random": other}
        pairs.append((one, named, survival(fitted, law, target, one, named, objective, seed=seed + number)))
    found = []
    for first, named, said in pairs:
        for each in said:
            values = world.true_objective(np.array([first, named[each["rival"]]]))
            found.append({"preset": preset, "world": seed, **each, "true": float(values[1] - values[0])})
    return found


def shown(rows: pl.DataFrame, chances: pl.DataFrame) -> None:
    """The tables, as Markdown."""
    names = (
        *("regret: one size", "slopes", "difference", "proxies' optimum", "used", "better / worse", "largest loss"),
        *("rank: one size", "slopes"),
    )
    print(f"\n| worlds | {' | '.join(names)} |\n|---|" + "---:|" * len(names))
    for (preset,), part in rows.group_by("preset", maintain_order=True):
        single, law = part["single"].to_numpy() * 100, part["law"].to_numpy() * 100
        better, worse = int((law < single - 0.1).sum()), int((law > single + 0.1).sum())
        used = (part["used"] != SINGLE).sum()
        ranks = f"{part['rank_single'].mean():.3f} | {part['rank_law'].mean():.3f}"
        cells = " | ".join(_mean(values) for values in (single, law, law - single, part["floor"].to_numpy() * 100))
        largest = max(float((law - single).max()), 0.0)
        print(f"| {preset} ({len(part)}) | {cells} | {used} | {better} / {worse} | {largest:.1f}% | {ranks} |")
    print("\n| rival | pairs | said | true | difference |\n|---|---:|---:|---:|---:|")
    for (rival,), part in chances.group_by("rival", maintain_order=True):
        print(_calibration(str(rival), part))
    print("\n| said, all pairs | pairs | said | true | difference |\n|---|---:|---:|---:|---:|")
    # A pair and its reverse say the same: both count, as the more likely one.
    sure = chances.with_columns(
        chance=pl.max_horizontal("chance", 1 - pl.col("chance")),
        true=pl.when(pl.col("chance") < 0.5).then(-pl.col("true")).otherwise(pl.col("true")),
    )
    for low, high in pairwise(BINS):
        part = sure.filter((pl.col("chance") > low) & (pl.col("chance") <= high))
        if len(part):
            print(_calibration(f"{max(low, 0.5):.0%} to {high:.0%}", part))


def _mean(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{values.mean():.1f} ± {error:.1f}%"


def _calibration(name: str, part: pl.DataFrame) -> str:
    said, true = float(part["chance"].to_numpy().mean()), float((part["true"].to_numpy() > 0).mean())
    # Where all came true, as many as a half of one in either direction are left open.
    share = (true * len(part) + 0.5) / (len(part) + 1)
    error = 100 * (share * (1 - share) / len(part)) ** 0.5
    return f"| {name} | {len(part)} | {said:.1%} | {true:.1%} | {100 * (said - true):+.1f} ± {error:.1f} points |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=[n for n in PRESETS if n != "many"])
    parser.add_argument("--proxies", type=int, default=48)
    parser.add_argument("--larger", type=int, default=12)
    parser.add_argument(
        "--grown", type=float, default=2.0, help="parameters and tokens of the larger proxies, in proxies'"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="a Parquet of every world, and one of every chance beside it")
    asked = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    chances: list[dict[str, Any]] = []
    with ProcessPoolExecutor(asked.workers) as pool:
        jobs = [
            pool.submit(measured, preset, seed, asked.proxies, asked.larger, asked.grown)
            for seed in range(asked.first, asked.first + asked.worlds)
            for preset in asked.presets
        ]
        for number, job in enumerate(as_completed(jobs), start=1):
            row, said = job.result()
            rows.append(row)
            chances += said
            print(f"{number} of {len(jobs)}", flush=True)
            if asked.out:
                for place, content in ((asked.out, rows), (asked.out.with_suffix(".chances.parquet"), chances)):
                    with written_atomically(place) as temporary:
                        pl.DataFrame(content).write_parquet(temporary)
    order = ["preset", "world"]
    shown(pl.DataFrame(rows).sort(order), pl.DataFrame(chances).sort([*order, "rival"]))


if __name__ == "__main__":
    main()
