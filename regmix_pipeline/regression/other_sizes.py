"""How far rankings carry over to other model sizes: predictions beside runs of a size that was not fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regmix_pipeline.numbers import amount
from regmix_pipeline.proxies.imports import ImportedRun
from regmix_pipeline.proxies.run_facts import sizes_of
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.metrics import scores_with_intervals
from regmix_pipeline.study.settings.regression import RegressionSettings

FEWEST = 4
"""Mixtures below which a rank correlation says nothing."""
CARRIES = 0.5
"""Rank correlation below which a choice is not said to carry over."""
SPLIT = "size "
"""Beginning of the split of such scores."""
METRICS = ("spearman", "pearson")
"""Scores that a shift of all losses does not change: a larger model's are lower."""


def scores_of_other_sizes(
    fitted: FittedRegressor, runs: Sequence[ImportedRun], settings: RegressionSettings, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rank and linear correlation of predictions with the losses of runs of other model sizes.

    Args:
        fitted: the regressors; none has seen these runs.
        runs: with their models' parameters.
        settings: level and resamples of the scores' intervals.
        seed: of the resampling.

    Returns:
        Score rows, whose split is ``size 60.0 M``, and size -> target -> Spearman correlation, or why there is none.
    """
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for group in sizes_of(run.parameters for run in runs):
        members = [run for run in runs if run.parameters in group]
        name = f"{SPLIT}{amount(max(size or 0 for size in group))}"
        by_mixture = {run.mixture.id: [each for each in members if each.mixture == run.mixture] for run in members}
        if len(by_mixture) < FEWEST:
            facts[name] = f"{len(by_mixture)} mixtures, too few to rank"
            continue
        weights = np.array([same[0].mixture.vector(fitted.domains) for same in by_mixture.values()])
        losses = np.array(
            [np.mean([[run.losses[t] for t in fitted.targets] for run in same], axis=0) for same in by_mixture.values()]
        )
        found = scores_with_intervals(fitted.predict(weights), losses, settings.level, settings.bootstrap, seed)
        rows += [
            {
                "regressor": fitted.chosen[target],
                "target": target,
                "split": name,
                "metric": metric,
                **{key: float(found[metric][at][column]) for at, key in enumerate(("value", "low", "high"))},
                "chosen": True,
            }
            for metric in METRICS
            for column, target in enumerate(fitted.targets)
        ]
        facts[name] = {target: float(found["spearman"][0][at]) for at, target in enumerate(fitted.targets)}
    return rows, facts


def flags_of_other_sizes(scores: Sequence[Mapping[str, Any]], objective: Mapping[str, float]) -> list[str]:
    """A sentence for each model size and target with weight on which the predicted ranking does not hold.

    Args:
        scores: rows of the regressor's scores.
        objective: target -> weight.
    """
    return [
        f"runs of {row['split']} do not rank mixtures as predicted on {row['target']}: rank correlation "
        f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        for row in scores
        if row["split"].startswith(SPLIT)
        and row["metric"] == "spearman"
        and objective.get(row["target"])
        and row["value"] < CARRIES
    ]
