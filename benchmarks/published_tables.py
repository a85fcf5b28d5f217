"""RegMix's published tables: its own recipe and ours, side by side.

    python benchmarks/published_tables.py FOLDER [--quick | --augmentation]

FOLDER holds train_mixture_1m.csv, train_pile_loss_1m.csv, test_mixture_1m.csv and test_pile_loss_1m.csv as published in
https://github.com/sail-sg/regmix (regression_fitting/data). Everything of ours is fitted and chosen on the training
rows alone; the test rows are used once, to print this table. RegMix's recipe is run as its notebook runs it, stopping
LightGBM early on the test rows, and again without that.
"""

# ruff: noqa: TID253
from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from augmentation import augmented
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.laws.saturation import SaturationLaw
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.study.settings.regression import RegressionSettings

Array = NDArray[np.float64]
FOCUS = "pile_cc"
SUBSETS = 8
SPLITS = 4
"""Of the augmentation study, whose LightGBM is fitted a dozen times for each of MixRL's episodes."""
SIZES = (32, 64, 128, 256)
WORKERS = 2


@dataclass(frozen=True)
class Table:
    """Weights (n, d) and losses (n, T) of runs, joined by id."""

    weights: Array
    losses: Array
    domains: list[str]
    targets: list[str]


def read(folder: Path, part: str) -> Table:
    """``part`` is train or test. Weights are published rounded to a thousandth, so rows are normalised."""
    weights, domains = _rows(folder / f"{part}_mixture_1m.csv")
    losses, targets = _rows(folder / f"{part}_pile_loss_1m.csv")
    if set(weights) != set(losses):
        raise SystemExit(f"{folder}: mixtures and losses of {part} have different ids")
    W = np.array([weights[key] for key in weights])
    names = [name.split("the_pile_", 1)[1] for name in domains]
    wanted = [name.split("the_pile_", 1)[1].removesuffix("_val_loss") for name in targets]
    return Table(W / W.sum(axis=1, keepdims=True), np.array([losses[key] for key in weights]), names, wanted)


def _rows(path: Path) -> tuple[dict[str, list[float]], list[str]]:
    with open(path, newline="") as file:
        head, *rows = csv.reader(file)
    return {row[0]: [float(value) for value in row[1:]] for row in rows}, head[1:]


def regmix(train: Table, test: Table, peek: bool) -> Array:
    """RegMix's regression_fitting notebook: LightGBM with 1000 trees at .01, stopped early on the test rows if
    ``peek``."""
    predicted = np.empty_like(test.losses)
    for j in range(len(train.targets)):
        model = lightgbm.LGBMRegressor(
            boosting_type="gbdt",
            objective="regression",
            metric=["l1", "l2"],
            num_iterations=1000,
            seed=42,
            learning_rate=1e-2,
            verbosity=-1,
            n_jobs=WORKERS,
        )
        stop = [lightgbm.early_stopping(stopping_rounds=3, verbose=False)] if peek else None
        seen: Any = [(test.weights, test.losses[:, j])] if peek else None
        model.fit(train.weights, train.losses[:, j], eval_set=seen, eval_metric="l2", callbacks=stop)
        predicted[:, j] = np.asarray(model.predict(test.weights))
    return predicted


def subset(table: Table, rows: Sequence[int] | NDArray[np.intp]) -> Table:
    return Table(table.weights[rows], table.losses[rows], table.domains, table.targets)


def ours(train: Table, settings: RegressionSettings | None = None, seed: int = 0) -> FittedRegressor:
    return fit(
        train.weights, train.losses, None, train.domains, train.targets, settings, seed, WORKERS, say=lambda line: None
    )


def all_rows(train: Table, test: Table) -> FittedRegressor:
    """512 rows: every target, RegMix's recipe and ours."""
    began, worked = time.monotonic(), time.process_time()
    fitted = ours(train)
    took, worked = time.monotonic() - began, time.process_time() - worked
    methods = {
        "RegMix, peeking": regmix(train, test, peek=True),
        "RegMix, honest": regmix(train, test, peek=False),
        "ours, chosen": fitted.predict(test.weights),
        "ours, stack": fitted.predict(test.weights, "stack"),
        "ours, law": fitted.predict(test.weights, "saturation"),
    }
    print(f"\n{len(train.losses)} training rows, {len(test.losses)} test rows. Spearman x 100, MSE x 10^4\n")
    print(f"{'target':<18}" + "".join(f"{name:>19}" for name in methods) + f"{'MSE ratio':>11}{'chosen':>18}")
    for j, target in enumerate(train.targets):
        print(
            _line(
                target, {name: (p[:, [j]], test.losses[:, [j]]) for name, p in methods.items()}, fitted.chosen[target]
            )
        )
    print(_line("mean of all", {name: (p, test.losses) for name, p in methods.items()}, ""))
    low, high = fitted.interval(test.weights, 0.9)
    inside = ((test.losses >= low) & (test.losses <= high)).mean(axis=0)
    spread = f"per target {inside.min():.1%} to {inside.max():.1%}"
    print(f"\n90% intervals hold {inside.mean():.1%} of the test losses ({spread})")
    tables = f"{len(train.targets)} targets x {len(train.losses)} rows"
    print(f"fitting and choosing {tables}: {took:.0f} s, {worked:.0f} s of CPU time on {WORKERS} cores")
    return fitted


def _line(target: str, pairs: dict[str, tuple[Array, Array]], note: str) -> str:
    scores = {name: 100 * spearman(p, a).mean() for name, (p, a) in pairs.items()}
    errors = {name: 1e4 * ((p - a) ** 2).mean() for name, (p, a) in pairs.items()}
    ratio = errors["ours, chosen"] / errors["RegMix, peeking"]
    cells = "".join(f"{scores[name]:>10.2f}{errors[name]:>9.1f}" for name in pairs)
    return f"{target:<18}{cells}{ratio:>11.2f}{note:>18}"


def fewer_rows(train: Table, test: Table) -> None:
    """Random subsets: Spearman x 100, mean over subsets."""
    print(f"\nfewer rows, mean of {SUBSETS} random subsets: Spearman x 100 on {FOCUS} (mean of all targets)\n")
    focus = train.targets.index(FOCUS)
    print(f"{'rows':>6}{'RegMix, peeking':>20}{'RegMix, honest':>20}{'ours, chosen':>20}{'ours, law':>20}")
    for size in SIZES:
        found: dict[str, list[Array]] = {}
        for number in range(SUBSETS):
            few = subset(train, np.random.default_rng(number).permutation(len(train.losses))[:size])
            fitted = ours(few, seed=number)
            for name, predicted in {
                "peeking": regmix(few, test, peek=True),
                "honest": regmix(few, test, peek=False),
                "chosen": fitted.predict(test.weights),
                "law": fitted.predict(test.weights, "saturation"),
            }.items():
                found.setdefault(name, []).append(100 * spearman(predicted, test.losses))
        means = {name: np.mean(values, axis=0) for name, values in found.items()}
        print(f"{size:>6}" + "".join(f"{v[focus]:>13.2f} ({v.mean():.2f})"[-20:] for v in means.values()), flush=True)


def speed(fitted: FittedRegressor) -> None:
    """Candidates scored per second, one target."""
    candidates = np.random.default_rng(0).dirichlet(np.full(len(fitted.domains), 0.3), size=1_000_000)
    with threadpool_limits(WORKERS):
        for name in ("saturation", "stack"):
            some = candidates if name == "saturation" else candidates[:50_000]
            began = time.monotonic()
            fitted.objective(some, {FOCUS: 1.0}, name)
            print(f"{name}: {len(some) / (time.monotonic() - began) / 1e6:.2f} million candidates per second")


# ---- design study: which rows to run


def random_design(pool: Array, count: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(len(pool))[:count]


def space_filling(pool: Array, count: int, seed: int) -> NDArray[np.intp]:
    """Farthest-point design in Hellinger's distance, as mixtures.choice: space_filling."""
    points = np.sqrt(pool)
    picked = [int(np.random.default_rng(seed).integers(len(pool)))]
    nearest = ((points - points[picked[0]]) ** 2).sum(axis=1)
    while len(picked) < count:
        picked.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[picked[-1]]) ** 2).sum(axis=1))
    return np.array(picked)


def d_optimal(pool: Array, count: int, seed: int) -> NDArray[np.intp]:
    """Greedy D-optimal design: the row that raises the determinant of the information on square-root weights most."""
    features = np.column_stack([np.ones(len(pool)), np.sqrt(pool), pool])
    features = features / (features.std(axis=0) + 1e-9 + (features.std(axis=0) < 1e-9))
    covariance = np.eye(features.shape[1]) * 10.0
    picked = [int(np.random.default_rng(seed).integers(len(pool)))]
    while True:
        row = features[picked[-1]]
        covariance -= np.outer(covariance @ row, covariance @ row) / (1 + row @ covariance @ row)
        if len(picked) == count:
            return np.array(picked)
        gain = np.einsum("nd,de,ne->n", features, covariance, features)
        gain[picked] = -1.0
        picked.append(int(gain.argmax()))


DESIGNS: dict[str, Callable[[Array, int, int], NDArray[np.intp]]] = {
    "random": random_design,
    "space filling": space_filling,
    "D-optimal": d_optimal,
}


def design_study(train: Table) -> None:
    """Rows chosen in three ways from three quarters of the training rows; the law is scored on the other quarter.

    The sampler's default depends on this, so no test row is touched.
    """
    print(
        f"\ndesign study, saturation law, training rows only, mean of {SUBSETS} splits: Spearman x 100 on {FOCUS}",
        end="",
    )
    print(" (mean of all targets)\n")
    focus = train.targets.index(FOCUS)
    print(f"{'rows':>6}" + "".join(f"{name:>20}" for name in DESIGNS))
    for size in (16, 24, 32, 48, 64, 96, 128, 192, 256):
        cells = []
        for design in DESIGNS.values():
            found = []
            for seed in range(SUBSETS):
                order = np.random.default_rng(seed).permutation(len(train.losses))
                pool, rest = order[len(order) // 4 :], order[: len(order) // 4]
                few = subset(train, pool[design(train.weights[pool], size, seed)])
                law = SaturationLaw().fit(few.weights, few.losses)
                found.append(100 * spearman(law.predict(train.weights[rest]), train.losses[rest]))
            mean = np.mean(found, axis=0)
            cells.append(f"{mean[focus]:>13.2f} ({mean.mean():.2f})"[-20:])
        print(f"{size:>6}" + "".join(cells), flush=True)


def augmentation_study(train: Table) -> None:
    """Mixup round three regressors, clean and noisy losses; fitted to some training rows, scored on the other ones."""
    targets = np.arange(len(train.targets))[::3]
    some = train.losses[:, targets]
    print(
        f"\naugmentation, training rows only, mean of {SPLITS} splits: Spearman x 100, mean of {len(targets)} targets"
    )
    generator = np.random.default_rng(0)
    hit = (generator.random(len(some)) < 0.1)[:, None] * generator.choice([-1, 1], (len(some), 1))
    noisy = some + hit * some.std(axis=0)
    wrappers = ("", "c_mixup+", "rc_mixup+", "mixrl+")

    def score(name: str, losses: Array, size: int, seed: int) -> float:
        order = np.random.default_rng(seed).permutation(len(losses))
        few, rest = order[:size], order[size:]
        model = augmented(name).fit(train.weights[few], losses[few])
        return 100 * float(spearman(model.predict(train.weights[rest]), some[rest]).mean())

    print(
        f"\n{'losses':<8}{'rows':>5}  {'regressor':<16}"
        + "".join(f"{name.rstrip('+') or 'plain':>10}" for name in wrappers)
    )
    with ThreadPoolExecutor(WORKERS) as pool:
        for kind, losses in (("clean", some), ("noisy", noisy)):
            for size in (24, 48, 128):
                for base in ("linear", "lightgbm", "saturation"):
                    jobs = [
                        [pool.submit(score, wrapper + base, losses, size, seed) for seed in range(SPLITS)]
                        for wrapper in wrappers
                    ]
                    cells = [f"{np.mean([job.result() for job in row]):>10.2f}" for row in jobs]
                    print(f"{kind:<8}{size:>5}  {base:<16}" + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="all rows only")
    parser.add_argument("--augmentation", action="store_true", help="the augmentation study alone")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*eval_set")
    train, test = read(arguments.folder, "train"), read(arguments.folder, "test")
    if arguments.augmentation:
        with threadpool_limits(1):
            augmentation_study(train)
        return
    fitted = all_rows(train, test)
    speed(fitted)
    if not arguments.quick:
        fewer_rows(train, test)
        design_study(train)


if __name__ == "__main__":
    main()
