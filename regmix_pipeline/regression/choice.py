"""Score every regressor on folds it never saw, choose one per target, and score the choosing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.regression.catalogue import NGRAM_PROCESS, PROCESS, STACK
from regmix_pipeline.regression.metrics import METRICS, rmse, scores_with_intervals, spearman
from regmix_pipeline.study.settings.regression import RegressionSettings

Array = NDArray[np.float64]
Folds = NDArray[np.int64]
NESTED = "nested_choice_by_"
"""The choosing is scored under this and 'rank' or 'calibration': each fold is predicted by the regressor that the other
folds would choose."""

TIE, TIE_ROWS = 1.1, 16.0
"""A shortfall within the factor `TIE` + `TIE_ROWS` / rows of the best one is as good: with few rows, scores are mostly
luck."""
PREFERRED = (NGRAM_PROCESS, PROCESS, STACK, "saturation")
"""Who wins a tie. The process around n-gram counts is there only where proxies confirm them; then it knows most with
few rows."""


def tie_factor(rows: int) -> float:
    """Times the least shortfall up to which another is as good."""
    return TIE + TIE_ROWS / rows


@dataclass(frozen=True)
class HeldOut:
    """Predictions of rows by models that had not seen them.

    Attributes:
        split: how the folds were made, 'random' or 'region'.
        fold: each row's fold, -1 where it is in none, (n,).
        predicted: regressor -> (n, T), NaN outside the folds.
    """

    split: str
    fold: Folds
    predicted: Mapping[str, Array]

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Which rows are in a fold, (n,)."""
        return self.fold >= 0


def shortfall(predicted: Array, actual: Array, by: str) -> Array:
    """What is minimised, (T,): 1 - Spearman correlation, or the root mean square error over the losses' deviation."""
    if by == "rank":
        return 1 - spearman(predicted, actual)
    return rmse(predicted, actual) / np.maximum(actual.std(axis=0), 1e-12)


def choose(splits: Sequence[HeldOut], actual: Array, by: str, without: int | None = None) -> list[str]:
    """The best regressor of every target: least shortfall, averaged over the splits.

    A regressor earlier in `PREFERRED` wins against a later one that is better by less than `TIE`: such differences are
    noise, and the process is what rounds measured for and what a search knows the deviations of.

    Args:
        splits: predictions to judge by.
        actual: losses (n, T).
        by: 'rank' or 'calibration'.
        without: leave this fold of the first split out of the judgement.
    """
    names = list(splits[0].predicted)
    total = np.zeros((len(names), actual.shape[1]))
    for number, split in enumerate(splits):
        rows = split.rows & (split.fold != without) if number == 0 and without is not None else split.rows
        total += [shortfall(split.predicted[name][rows], actual[rows], by) for name in names]
    order = sorted(range(len(names)), key=lambda row: PREFERRED.index(names[row]) if names[row] in PREFERRED else 99)
    tied = total <= tie_factor(len(actual)) * total.min(axis=0) + 1e-12
    return [names[next(row for row in order if tied[row, target])] for target in range(actual.shape[1])]


def nested(splits: Sequence[HeldOut], actual: Array, by: str) -> Array:
    """Predictions (n, T) of the first split's rows by the regressor chosen without their fold."""
    first = splits[0]
    predicted = np.full_like(actual, np.nan)
    for k in np.unique(first.fold[first.rows]):
        held = first.fold == k
        for target, name in enumerate(choose(splits[:1], actual, by, without=int(k))):
            predicted[held, target] = first.predicted[name][held, target]
    return predicted


def score_rows(
    splits: Sequence[HeldOut],
    actual: Array,
    targets: Sequence[str],
    chosen: Mapping[str, Sequence[str]],
    settings: RegressionSettings,
    seed: int,
) -> list[dict[str, Any]]:
    """The scores as rows: regressor, target, split, metric, value, low, high, chosen."""
    rows = []
    final = chosen[settings.choose_by]
    for split in splits:
        held, truth = split.rows, actual[split.rows]
        candidates = dict(split.predicted)
        if split.split == "random":
            candidates |= {NESTED + by: nested(splits, actual, by) for by in chosen}
        for name, predicted in candidates.items():
            found = scores_with_intervals(predicted[held], truth, settings.level, settings.bootstrap, seed)
            rows += [
                {
                    "regressor": name,
                    "target": target,
                    "split": split.split,
                    "metric": metric,
                    "value": float(found[metric][0][column]),
                    "low": float(found[metric][1][column]),
                    "high": float(found[metric][2][column]),
                    "chosen": final[column] == name,
                }
                for metric in METRICS
                for column, target in enumerate(targets)
            ]
    return rows
