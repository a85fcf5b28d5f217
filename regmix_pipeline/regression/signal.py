"""Signal and noise of every target: what is stored, flagged, and taken off the objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regmix_pipeline.proxies.noise import NoiseFloor
from regmix_pipeline.study.settings.proxies import NoiseSettings


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


def weighed_objective(
    objective: Mapping[str, float], rows: Sequence[Mapping[str, Any]], settings: NoiseSettings
) -> tuple[dict[str, float], list[str]]:
    """The objective that is searched, and what a reader must know about its noise.

    A flagged target's share is multiplied by its reliability, the share of its measured variance that is signal, so
    that luck does not choose the mixture. Shares sum to 1 again afterwards; if nothing but noise is left, the objective
    stays as it was asked.

    Args:
        objective: target -> share, summing to 1.
        rows: as `noise_rows` gives them.
        settings: whether flagged targets count less.

    Returns:
        target -> share, and a sentence for every flagged target in the objective.
    """
    noisy = {row["target"]: row for row in rows if row["flagged"] and row["target"] in objective}
    kept = {name: share * (noisy[name]["reliability"] if name in noisy else 1.0) for name, share in objective.items()}
    total = sum(kept.values())
    weighed = {name: share / total for name, share in kept.items()} if total > 1e-9 else dict(objective)
    if not settings.downweight:
        weighed = dict(objective)
    sentences = []
    for name, row in noisy.items():
        share = "" if weighed == objective else f"; it counts {weighed[name]:.0%} instead of {objective[name]:.0%}"
        sentences.append(
            f"{name}: mixtures differ by {row['signal_to_noise']:.1f} times the noise between seeds only{share}"
        )
    return weighed, sentences
