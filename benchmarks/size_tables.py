"""What slopes of size are worth on tables of runs of three sizes, and how often chances come true there.

    python benchmarks/size_tables.py --tables FOLDER [--tokens SMALL MIDDLE LARGE] [--rows 64] [--larger 16]
        [--studies 4] [--draws 4]

FOLDER is read as `benchmarks/tables.py` reads it. Regressors are fitted to some rows of the smallest size, slopes to a
few runs of the next one, both drawn at random, and the largest size's runs judge; nothing is fitted to these. The
objective is the mean of all targets. Printed for each study: rank correlation of the largest size's runs with the
regressors, with slopes, and with the slopes that the largest runs themselves show. Then how often the mixture that is
said to be better of two is the better one. Studies share tables, so their spread is no standard error.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tables import Array, Folder, Runs, parameters, read

from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.size_fit import fit_sizes
from regmix_pipeline.regression.sizes import SINGLE, ModelSize, SizeRuns
from regmix_pipeline.search.survival import survival
from regmix_pipeline.study.settings.regression import RegressionSettings

REGRESSION = RegressionSettings(regressors=("saturation", "gaussian_process"), extrapolation="off", bootstrap=50)
BINS = (0.5, 0.6, 0.8, 0.95, 1.0)


def study(folder: Folder, rows: int, seed: int) -> FittedRegressor:
    """Regressors fitted to some rows of the smallest size."""
    runs = folder.sizes[0]
    drawn = np.random.default_rng(seed).permutation(len(runs.weights))[:rows]
    return fit(
        runs.weights[drawn],
        runs.losses[drawn],
        None,
        folder.domains,
        folder.targets,
        REGRESSION,
        seed,
        1,
        lambda _: None,
        counted=dict.fromkeys(folder.targets, 1.0),
    )


def judged(
    fitted: FittedRegressor, folder: Folder, sizes: Sequence[ModelSize], larger: int, seed: int
) -> tuple[str, list[float], list[tuple[float, bool]]]:
    """Which law is used, the three rank correlations, and of pairs of the largest size's mixtures the chance that the
    one said to be better is so, and whether it is."""
    generator = np.random.default_rng(1000 + seed)
    middle, judge = folder.sizes[1], folder.sizes[-1]
    drawn = generator.permutation(len(middle.weights))[:larger]
    objective = dict.fromkeys(folder.targets, 1.0)
    runs = SizeRuns(sizes[1], middle.weights[drawn], middle.losses[drawn])
    law = fit_sizes(fitted, sizes[0], [runs], objective, seed)
    assert law is not None, "more than eight runs are drawn"
    share, predicted = fitted.shares(objective), fitted.predict(judge.weights)
    truth = judge.losses @ share
    moved = predicted if law.used == SINGLE else law.moved(predicted, sizes[-1])
    ranks = [_rank(values, truth) for values in (predicted @ share, moved @ share, _own(predicted, judge) @ share)]
    pairs = generator.permutation(len(truth))
    said = []
    for one, other in zip(pairs[::2], pairs[1::2], strict=False):
        rival = {"other": judge.weights[other]}
        chance = survival(fitted, law, sizes[-1], judge.weights[one], rival, objective, seed=seed)[0]["chance"]
        better = bool(truth[one] < truth[other])
        said.append((chance, better) if chance >= 0.5 else (1 - chance, not better))
    return law.used, ranks, said


def _own(predicted: Array, judge: Runs) -> Array:
    """Predictions with each target's spread as the largest runs show it."""
    x, y = predicted - predicted.mean(axis=0), judge.losses - judge.losses.mean(axis=0)
    return predicted * (x * y).sum(axis=0) / (x * x).sum(axis=0)


def _rank(predicted: Array, truth: Array) -> float:
    return float(spearman(predicted[:, None], truth[:, None])[0])


def report(folder: Folder, sizes: Sequence[ModelSize], asked: argparse.Namespace) -> Iterator[str]:
    """The tables, as Markdown, line by line."""
    yield "| study | proxies alone | slopes | slopes of the largest runs | used | better / worse |"
    yield "|---|---:|---:|---:|---:|---:|"
    said: list[tuple[float, bool]] = []
    for number in range(asked.studies):
        fitted = study(folder, asked.rows, number)
        found = [judged(fitted, folder, sizes, asked.larger, 100 * number + draw) for draw in range(asked.draws)]
        ranks = np.array([each for _, each, _ in found])
        said += [each for _, _, pairs in found for each in pairs]
        used = sum(law != SINGLE for law, _, _ in found)
        change = ranks[:, 1] - ranks[:, 0]
        alone, slopes, own = ranks.mean(axis=0)
        compared = f"{(change > 0).sum()} / {(change < 0).sum()}"
        yield f"| {number} | {alone:.3f} | {slopes:.3f} | {own:.3f} | {used} of {len(found)} | {compared} |"
    yield "\n| said | pairs | said | true |\n|---|---:|---:|---:|"
    chances, true = np.array([each for each, _ in said]), np.array([each for _, each in said])
    for low, high in pairwise(BINS):
        inside = (chances >= low) & ((chances < high) | (high == 1))
        if inside.any():
            shares = f"{chances[inside].mean():.1%} | {true[inside].mean():.1%}"
            yield f"| {low:.0%} to {high:.0%} | {inside.sum()} | {shares} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--tokens", type=float, nargs=3, default=(None, None, None), help="of each size's runs")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--larger", type=int, default=16)
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--draws", type=int, default=4)
    asked = parser.parse_args(arguments)
    folder = read(asked.tables)
    if len(folder.sizes) != 3:
        parser.error(f"{asked.tables} holds {len(folder.sizes)} sizes; three are needed")
    sizes = [ModelSize(parameters(runs.size), tokens) for runs, tokens in zip(folder.sizes, asked.tokens, strict=True)]
    for line in report(folder, sizes, asked):
        print(line, flush=True)


if __name__ == "__main__":
    main()
