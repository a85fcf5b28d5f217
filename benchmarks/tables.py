"""Any folder of tables of runs: how well every regressor ranks, knows its error and picks, by nested folds.

    python benchmarks/tables.py --tables FOLDER [--objective TARGET ...] [--rows N] [--only NAME ...]

FOLDER holds tables of mixtures (``mixture``, ``ratios`` or ``weights`` is a word of their names) and of losses
(``loss`` or ``metrics``), CSV or Parquet or JSON lines, a row per run, joined by id as `regmix import-runs` joins them.
A table of losses goes with the table of mixtures whose name has most words in common with its own and fewest others.
A word such as 1m or 60m is the size of the model; regressors are fitted to the smallest one's losses, and judged on
all. Tables with the word ``test`` are left alone.

Mixtures are spread over outer folds. All that is fitted or chosen for a fold (regressor, shape, penalty, width of
intervals) comes from the other folds' rows, by inner folds of these; held-out rows are scored, and nothing else. Each
regressor picks the held-out mixture with its least predicted objective; so do strategies: `ours` with the regressors
that it chooses and its caution, `regmix` with trees fitted to the objective. Means and standard errors over folds.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegmixError, RegressionError
from regmix_pipeline.proxies.run_tables import ImportedRun, read_runs
from regmix_pipeline.regression.catalogue import EPOCHS, NGRAMS, REGRESSORS
from regmix_pipeline.regression.cross_validation import Make, fit_group, groups_of, out_of_fold
from regmix_pipeline.regression.estimator import MixtureRegressor
from regmix_pipeline.regression.fitting import fit
from regmix_pipeline.regression.folds import random_folds
from regmix_pipeline.regression.intervals import conformal_quantile
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.regression.metrics import spearman
from regmix_pipeline.regression.trees import LightGBMRegressor
from regmix_pipeline.search.objective import CAUTION
from regmix_pipeline.strategies.methods.mariner import MarinerLaw
from regmix_pipeline.strategies.methods.scheffe import ScheffePolynomial
from regmix_pipeline.study.settings.imports import RunTableSettings

Array = NDArray[np.float64]
MIXTURES, LOSSES = {"mixture", "mixtures", "ratios", "weights"}, {"loss", "losses", "metrics"}
KINDS = (".csv", ".parquet", ".pq", ".jsonl", ".ndjson")
SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmbt])")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
OURS, REGMIX, RANDOM = "ours", "regmix", "any mixture"
LAWS = {"scheffe": ScheffePolynomial, "mariner": MarinerLaw}
"""Laws of strategies, which no catalogue of regressors lists."""
LEVEL = 0.9
FOLDS = 5
FEWEST = 40
"""Runs of the smallest size below which nested folds say nothing."""


@dataclass(frozen=True)
class Runs:
    """Runs of one size.

    Attributes:
        size: its name; "" where the tables name none.
        mixtures: id of each run's mixture, (n,).
        weights: (n, d).
        losses: nats per token, (n, T).
    """

    size: str
    mixtures: list[str]
    weights: Array
    losses: Array


@dataclass(frozen=True)
class Folder:
    """The runs of a folder, smallest size first, with the names of their columns."""

    sizes: list[Runs]
    domains: list[str]
    targets: list[str]


def read(folder: Path) -> Folder:
    """Read every table of a folder.

    Raises:
        RegressionError: naming file or folder, and remedy.
    """
    if not folder.is_dir():
        raise RegressionError("no such folder", where=str(folder), remedy="name a folder of tables")
    named = {path: words(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in KINDS}
    named = {path: each for path, each in named.items() if "test" not in each}
    mixtures = [path for path, each in named.items() if each & MIXTURES]
    losses = [path for path, each in named.items() if each & LOSSES and not each & MIXTURES]
    for found, what, known in ((mixtures, "mixtures", MIXTURES), (losses, "losses", LOSSES)):
        if not found:
            raise RegressionError(
                f"holds no table of {what}",
                where=str(folder),
                remedy=f"name it with one of the words {', '.join(sorted(known))}, and end it with one of "
                f"{', '.join(KINDS)}; tables with the word test are left alone",
            )
    by_size: dict[str, list[ImportedRun]] = defaultdict(list)
    measured: list[list[str]] = []
    for path in losses:
        runs = read_runs(partner(path, mixtures), path, settings=RunTableSettings(partial="leave_out")).runs
        measured.append(list(runs[0].losses))
        by_size[next((word for word in sorted(named[path]) if SIZE.fullmatch(word)), "")] += runs
    ordered = sorted(by_size.items(), key=lambda item: parameters(item[0]))
    domains = list(dict.fromkeys(name for run in ordered[0][1] for name in run.mixture.weights))
    for size, runs in ordered[1:]:
        unknown = sorted({name for run in runs for name in run.mixture.weights} - set(domains))
        if unknown:
            raise RegressionError(
                f"runs of {size or 'a size without a name'} draw {unknown[0]!r}, those of the smallest size never do",
                where=str(folder),
                remedy="call a domain alike in all tables, or leave these runs out",
            )
    targets = [name for name in measured[0] if all(name in each for each in measured)]
    if not targets:
        raise RegressionError(
            "the tables of losses have no target in common", where=str(folder), remedy="call a target alike in all"
        )
    sizes = [
        Runs(
            size,
            [run.mixture.id for run in runs],
            np.array([run.mixture.vector(domains) for run in runs]),
            np.array([[run.losses[name] for name in targets] for run in runs]),
        )
        for size, runs in ordered
    ]
    if len(set(sizes[0].mixtures)) < FEWEST:
        raise RegressionError(
            f"{len(set(sizes[0].mixtures))} mixtures of the smallest size, {FEWEST} are needed",
            where=str(folder),
            remedy="give more runs",
        )
    return Folder(sizes, domains, targets)


def words(path: Path) -> set[str]:
    """Words of a file's name, in lower case."""
    return set(re.findall(r"[a-z0-9.]+", path.stem.lower()))


def parameters(size: str) -> float:
    """Parameters of a size by its name; 0 without one."""
    match = SIZE.fullmatch(size)
    return float(match[1]) * UNITS[match[2]] if match else 0.0


def partner(losses: Path, mixtures: Sequence[Path]) -> Path:
    """The table of mixtures that a table of losses goes with: most words in common, then fewest others."""
    own = words(losses)
    alike = [(len(own & words(path)), -len(words(path) - own)) for path in mixtures]
    if alike.count(max(alike)) > 1:
        first, second, *_ = (path.name for path, each in zip(mixtures, alike, strict=True) if each == max(alike))
        raise RegressionError(
            f"may go with {first} or {second}",
            where=str(losses),
            remedy="give the table of its mixtures a name that has more words in common with its own",
        )
    return mixtures[alike.index(max(alike))]


@dataclass
class Held:
    """What one predictor says of the held-out rows of one size and fold.

    Attributes:
        value: of the objective, by which mixtures are picked, (m,).
        predicted: losses, (m, T); None where the objective alone is predicted.
        inside: whether measured losses lie in the intervals, (m, T); None where there are none.
    """

    value: Array
    predicted: Array | None = None
    inside: NDArray[np.bool_] | None = None


def regressors(only: Sequence[str] | None) -> Make:
    """Regressors that need nothing but weights and losses."""
    names = [name for name in (*REGRESSORS, *LAWS) if name not in (*NGRAMS, *EPOCHS)]
    return {name: LAWS.get(name) or REGRESSORS[name] for name in names if only is None or name in only}


def predictions(
    make: Make,
    known: tuple[Array, Array],
    held: Sequence[Runs],
    share: Array,
    folder: Folder,
    seed: int,
    only: set[str],
) -> dict[str, list[Held]]:
    """What everything that was fitted to known rows (n, d) and (n, T) says of held-out rows, size by size."""
    X, Y = known
    weight, inner = np.ones(len(X)), random_folds(len(X), FOLDS, seed)
    residual, spread = out_of_fold(make, X, Y, weight, inner, 1, _silent)
    found: dict[str, list[Held]] = {}
    for group in groups_of(make):
        for name, model in fit_group(make, group, X, Y, weight).items():
            half = conformal_quantile(np.abs(Y - residual[name]) / spread.get(name, np.ones_like(Y)), LEVEL)
            found[name] = [_of_model(model, runs, half, share) for runs in held]
    if OURS in only:
        fitted = fit(X, Y, None, folder.domains, folder.targets, seed=seed, workers=1, say=_silent)
        weights = dict(zip(folder.targets, share.tolist(), strict=True))
        found[OURS] = []
        for runs in held:
            low, high = fitted.interval(runs.weights, LEVEL)
            value = fitted.objective(runs.weights, weights)
            value = value + CAUTION * fitted.objective_deviation(runs.weights, weights)
            inside = (runs.losses >= low) & (runs.losses <= high)
            found[OURS].append(Held(value, fitted.predict(runs.weights), inside))
    if REGMIX in only:
        trees = LightGBMRegressor().fit(X, Y @ share)
        found[REGMIX] = [Held(trees.predict(runs.weights)) for runs in held]
    return found


def _of_model(model: MixtureRegressor, runs: Runs, half: Array, share: Array) -> Held:
    predicted = model.predict(runs.weights).reshape(runs.losses.shape)
    if isinstance(model, GaussianProcessLaw):
        half = half * model.standard_deviation(runs.weights)
    return Held(predicted @ share, predicted, np.abs(runs.losses - predicted) <= half)


def nested(
    folder: Folder, share: Array, make: Make, only: set[str], rows: int | None = None, seed: int = 0
) -> Iterator[tuple[list[Runs], dict[str, list[Held]]]]:
    """Fold after fold: the held-out rows of every size, and what is said of them."""
    base = folder.sizes[0]
    ids = sorted({each for runs in folder.sizes for each in runs.mixtures})
    fold = dict(zip(ids, random_folds(len(ids), FOLDS, seed).tolist(), strict=True))
    for k in range(FOLDS):
        train = np.array([row for row, each in enumerate(base.mixtures) if fold[each] != k])
        if rows is not None:
            train = np.random.Generator(np.random.PCG64([seed, k])).permutation(train)[:rows]
        held = [_rows(runs, [fold[each] == k for each in runs.mixtures]) for runs in folder.sizes]
        known = base.weights[train], base.losses[train]
        yield held, predictions(make, known, held, share, folder, seed, only)


def _rows(runs: Runs, which: Sequence[bool]) -> Runs:
    rows = np.flatnonzero(which)
    return Runs(runs.size, [runs.mixtures[row] for row in rows], runs.weights[rows], runs.losses[rows])


def scores(held: Runs, said: Held, share: Array) -> dict[str, float]:
    """One fold's scores: correlations x 100, error and regret in thousandths of a nat, coverage in per cent."""
    actual = held.losses @ share
    pick = int(said.value.argmin())
    found = {
        "rank": 100 * float(spearman(said.value[:, None], actual[:, None])[0]),
        "regret": 1e3 * float(actual[pick] - actual.min()),
        "place": float((actual < actual[pick]).sum() + 1),
    }
    if said.predicted is not None:
        objective = said.predicted @ share
        apart = objective - objective.mean()
        found["rank of targets"] = 100 * float(spearman(said.predicted, held.losses).mean())
        found["error"] = 1e3 * float(np.sqrt(((objective - actual) ** 2).mean()))
        found["slope"] = float(apart @ (actual - actual.mean()) / max(float(apart @ apart), 1e-300))
    if said.inside is not None:
        found["coverage"] = 100 * float(said.inside.mean())
    return found


COLUMNS = {
    "rank": "rank, objective",
    "rank of targets": "rank, mean of targets",
    "error": "error, objective",
    "slope": "slope",
    "coverage": f"in {LEVEL:.0%} intervals",
    "regret": "regret of the pick",
    "place": "its place",
}


def table(by_name: dict[str, list[dict[str, float]]], columns: Sequence[str]) -> Iterator[str]:
    """Markdown: a predictor a line, mean ± standard error over folds."""
    yield "| | " + " | ".join(COLUMNS[column] for column in columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for name, folds in by_name.items():
        yield f"| {name} | " + " | ".join(_cell([fold.get(column) for fold in folds]) for column in columns) + " |"


def _cell(values: Sequence[float | None]) -> str:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return ""
    error = known.std(ddof=1) / len(known) ** 0.5 if len(known) > 1 else float("nan")
    digits = 2 if abs(known.mean()) < 10 else 1
    return f"{known.mean():.{digits}f} ± {error:.{digits}f}"


def report(
    folder: Folder, objective: Sequence[str] | None, rows: int | None, only: Sequence[str] | None
) -> Iterator[str]:
    """The lines that are printed."""
    unknown = sorted(set(objective or ()) - set(folder.targets))
    if unknown:
        raise RegressionError(
            f"{unknown[0]!r} is no target", where="--objective", remedy=f"the targets are {', '.join(folder.targets)}"
        )
    share = np.array([float(objective is None or name in objective) for name in folder.targets])
    share = share / share.sum()
    asked = {OURS, REGMIX} if only is None else set(only)
    found: list[dict[str, list[dict[str, float]]]] = [defaultdict(list) for _ in folder.sizes]
    for held, said in nested(folder, share, regressors(only), asked, rows):
        for place, runs in enumerate(held):
            if len(runs.losses) < 3:
                continue
            for name, each in said.items():
                found[place][name].append(scores(runs, each[place], share))
            actual = runs.losses @ share
            chance = {"regret": 1e3 * float((actual - actual.min()).mean()), "place": (len(actual) + 1) / 2}
            found[place][RANDOM].append(chance)
    base = folder.sizes[0]
    known = round(len(base.losses) * (1 - 1 / FOLDS)) if rows is None else rows
    yield f"{len(base.losses)} runs, {len(folder.domains)} domains, {len(folder.targets)} targets; {FOLDS} folds,"
    yield f"each predicted from {known} rows of the others."
    yield f"Objective: {', '.join(objective) if objective else 'the mean of all targets'}. Ranks are Spearman"
    yield "correlations x 100, errors and regrets thousandths of a nat; the slope is of measured on predicted losses."
    for runs, by_name in zip(folder.sizes, found, strict=True):
        yield f"\n{runs.size or 'losses'}" + ("" if runs is base else f", predicted from {base.size or 'the smallest'}")
        yield ""
        yield from table(by_name, list(COLUMNS) if runs is base else ["rank", "rank of targets", "regret", "place"])


def _silent(_: str) -> None:
    """The tables say it all."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--objective", nargs="+", metavar="TARGET", help="of whose losses the mean counts; default all")
    parser.add_argument("--rows", type=int, help="rows that are fitted to, of a fold's; default all")
    parser.add_argument("--only", nargs="+", choices=[OURS, REGMIX, *regressors(None)])
    asked = parser.parse_args(arguments)
    try:
        for line in report(read(asked.tables), asked.objective, asked.rows, asked.only):
            print(line, flush=True)
    except RegmixError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
