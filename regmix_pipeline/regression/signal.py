"""Signal and noise of every target: what is stored, flagged, and taken off the objective.

Two things blur what a target says of mixtures. Seeds: the noise between proxies of one mixture, where mixtures were
trained with several. And its items or windows: the standard error of a mean over them bounds what other items would
say. All proxies see the same ones, so most of that error is common to them and ranks nothing; a target whose mixtures
differ by less than half of it has too few items all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.proxies.noise import NoiseFloor
from regmix_pipeline.study.settings.proxies import NoiseSettings

Array = NDArray[np.float64]
REMEDY = "give it more items or windows, train longer proxies, or lower its weight"
_BY_SEEDS = (
    *("mixtures", "seeds", "degrees_of_freedom", "noise", "noise_low", "noise_high", "seed_shift", "signal"),
    *("signal_to_noise", "reliability"),
)


def noise_rows(floor: NoiseFloor | None, targets: Sequence[str], settings: NoiseSettings) -> list[dict[str, Any]]:
    """The noise floor as rows, one a target; none where it is unknown."""
    if floor is None:
        return []
    return [
        {
            "target": target,
            "mixtures": floor.mixtures,
            "seeds": floor.seeds,
            "degrees_of_freedom": floor.degrees_of_freedom,
            "noise": float(floor.noise[j]),
            "noise_low": float(floor.low[j]),
            "noise_high": float(floor.high[j]),
            "seed_shift": float(floor.shift[j]),
            "signal": float(floor.signal[j]),
            "signal_to_noise": float(floor.signal_to_noise[j]),
            "reliability": float(floor.reliability[j]),
            "flagged": bool(floor.signal_to_noise[j] < settings.flag_below),
        }
        for j, target in enumerate(targets)
    ]


def with_errors(
    rows: Sequence[Mapping[str, Any]], targets: Sequence[str], losses: Array, errors: Array, least: float
) -> list[dict[str, Any]]:
    """The rows with what items and windows leave open, of every target whose standard errors are known.

    Args:
        rows: as `noise_rows` gives them; empty where nothing is known of seeds.
        targets: of the columns.
        losses: of the mixtures, (n, T), nats per token.
        errors: a loss's standard error over items or windows, mean over the mixtures, (T,); NaN: unknown.
        least: a target is flagged whose losses' deviation over mixtures is less than so many standard errors.
    """
    known = {row["target"]: row for row in rows}
    spread = losses.std(axis=0, ddof=1) if len(losses) > 1 else np.zeros(len(targets))
    found = []
    for j, target in enumerate(targets):
        by_seeds = known.get(target)
        if by_seeds is None and not np.isfinite(errors[j]):
            continue
        row = dict(by_seeds) if by_seeds is not None else {"target": target, **dict.fromkeys(_BY_SEEDS)}
        row["flagged_by_seeds"] = bool(by_seeds is not None and by_seeds["flagged"])
        ratio = float(spread[j] / max(errors[j], 1e-12)) if np.isfinite(errors[j]) else None
        row |= {
            "standard_error": float(errors[j]) if ratio is not None else None,
            "spread": float(spread[j]),
            "spread_to_error": ratio,
            "flagged": row["flagged_by_seeds"] or (ratio is not None and ratio < least),
        }
        found.append(row)
    return found


def reliability_of(row: Mapping[str, Any]) -> float:
    """Share of a target's measured variance over mixtures that is signal: by seeds, where nothing is known of them by
    its standard errors."""
    if row["reliability"] is not None:
        return row["reliability"]
    signal, noise = row["spread"] ** 2, row["standard_error"] ** 2
    return max(signal - noise, 0.0) / max(signal, 1e-24)


def weighed_objective(
    objective: Mapping[str, float], rows: Sequence[Mapping[str, Any]], settings: NoiseSettings
) -> tuple[dict[str, float], list[str]]:
    """The objective that is searched, and what a reader must know about its noise.

    The share of a target that is flagged for its noise between seeds is multiplied by its reliability, the share of its
    measured variance that is signal, so that luck does not choose the mixture; with ``weight_by_signal`` every share
    is. Shares sum to 1 again afterwards; if nothing but noise is left, the objective stays as it was asked.

    Args:
        objective: target -> share, summing to 1.
        rows: as `noise_rows` or `with_errors` gives them.
        settings: whether flagged targets, or all, count less.

    Returns:
        target -> share, and a sentence for every flagged target in the objective.
    """
    known = {row["target"]: row for row in rows if row["target"] in objective}
    flagged = {name: row for name, row in known.items() if row["flagged"]}
    noisy = {name for name, row in flagged.items() if row.get("flagged_by_seeds", True)}
    lower = set(known) if settings.weight_by_signal else noisy if settings.downweight else set()
    kept = {name: share * (reliability_of(known[name]) if name in lower else 1.0) for name, share in objective.items()}
    total = sum(kept.values())
    weighed = {name: share / total for name, share in kept.items()} if lower and total > 1e-9 else dict(objective)
    sentences = []
    for name, row in flagged.items():
        share = "" if weighed == objective else f"; it counts {weighed[name]:.0%} instead of {objective[name]:.0%}"
        sentences.append(f"{name}: mixtures differ by {_by_what(row)} only{share}; {REMEDY}")
    return weighed, sentences


def _by_what(row: Mapping[str, Any]) -> str:
    if row.get("flagged_by_seeds", True):
        return f"{row['signal_to_noise']:.1f} times the noise between seeds"
    return f"{row['spread_to_error']:.1f} times the standard error over its items or windows"
