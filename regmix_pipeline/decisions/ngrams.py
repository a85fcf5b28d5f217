"""How far a decision relies on n-gram counts, and what they say of the proxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.numbers import amount, listed
from regmix_pipeline.regression.catalogue import NGRAMS

if TYPE_CHECKING:
    from regmix_pipeline.regression.fitted import FittedRegressor

WHOLLY = 0.9
"""Share of the losses' variance from which on counts are said to explain nearly all that proxies measure."""


def reliance_on_ngrams(
    workspace: Workspace, fitted: FittedRegressor, objective: Mapping[str, float]
) -> dict[str, Any] | None:
    """What the record states of n-gram counts; None where nothing was counted.

    Args:
        workspace: the study on disk.
        fitted: the regressor.
        objective: target -> share.

    Returns:
        `trusted`: whether their regressors competed; `share`: their part of what predicts the objective; `targets`: a
        row a target that counts, see `regression.trust.Trust`; `ended`: why rounds ended early, or "".
    """
    if not fitted.trust:
        return None
    rows = [each.as_json() for each in fitted.trust if each.target in objective]
    share = sum(
        part * sum(weight for name, weight in fitted.blend[target].items() if name in NGRAMS)
        for target, part in objective.items()
    )
    return {
        "trusted": all(row["trusted"] for row in rows),
        "share": share / sum(objective.values()),
        "targets": rows,
        "ended": workspace.json("further_mixtures")["ended"],
    }


def ngrams_in_words(reliance: Mapping[str, Any] | None) -> list[str]:
    """How far the decision relies on n-gram counts, in sentences; none where nothing was counted."""
    if not reliance or not reliance["targets"]:
        return []
    if not reliance["trusted"]:
        why = listed([f"{row['target']}: {row['why']}" for row in reliance["targets"] if not row["trusted"]])
        return [f"Losses predicted by n-gram counts were not used ({why})."]
    explained = listed([f"{row['explained']:.0%} on {row['target']}" for row in reliance["targets"]])
    said = [
        f"N-gram counts, which no proxy is trained for, explain {explained} of what the measured losses differ by; "
        f"regressors of them make {reliance['share']:.0%} of the prediction."
    ]
    return said + ([f"Rounds ended early: {reliance['ended']}."] if reliance["ended"] else [])


def overlap_measured(workspace: Workspace, reliance: Mapping[str, Any] | None) -> list[str]:
    """A flag where counts explain nearly all that proxies measure, with what larger proxies would take."""
    rows = [] if reliance is None else reliance["targets"]
    least = min((row["explained"] for row in rows), default=0.0)
    if reliance is None or not reliance["trusted"] or least < WHOLLY:
        return []
    measured = max(row["rows"] for row in rows)
    tokens = 4 * measured * workspace.study.proxies.tokens_per_mixture
    return [
        f"n-gram counts alone explain {least:.0%} of what the proxies measure: models "
        "this small, or trained this shortly, tell which domains share their vocabulary with the targets, more than "
        f"what is learned from them; {measured} mixtures at four times proxies.training.tokens would take "
        f"{amount(tokens)} tokens (`regmix plan` states the time)"
    ]
