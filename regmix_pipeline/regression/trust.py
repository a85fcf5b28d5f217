"""Whether n-gram counts may be relied on: on proxies of this study, target by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.laws.ngrams import NgramLaw
from regmix_pipeline.regression.metrics import rmse, spearman
from regmix_pipeline.study.settings.regression import TrustSettings

Array = NDArray[np.float64]
DRAWS = 400
"""Resamples of rows behind the uncertainty."""
QUANTILE = 0.2
"""Of the resamples' correlations, the one that is judged."""


@dataclass(frozen=True)
class Trust:
    """What n-gram counts explain of one target's measured losses.

    Attributes:
        target: its name.
        rows: mixtures measured.
        rank: Spearman correlation of measured losses with those that counts predict for each mixture left out.
        rank_low: the same at the lower `QUANTILE` of resampled rows.
        slope: measured nats per token for each that counts predict.
        error: root mean square error on the mixture left out, over the losses' deviation.
        trusted: whether all floors hold.
        why: the floor that does not hold; "" where all do.
    """

    target: str
    rows: int
    rank: float
    rank_low: float
    slope: float
    error: float
    trusted: bool
    why: str

    @property
    def explained(self) -> float:
        """Share of the losses' variance that counts predict on mixtures left out."""
        return max(1 - self.error**2, 0.0)

    def as_json(self) -> dict[str, Any]:
        """Its fields, and what is explained."""
        return {**asdict(self), "explained": self.explained}


def trust(
    weights: Array,
    losses: Array,
    evidence: NgramEvidence,
    settings: TrustSettings,
    epochs_per_weight: list[float] | None = None,
    seed: int = 0,
) -> list[Trust]:
    """What counts explain of each target's losses, and whether they are trusted.

    Args:
        weights: mixtures of the proxies, (n, d); columns as the evidence's domains.
        losses: measured, nats per token, (n, T); columns as the evidence's targets.
        evidence: what counts predict.
        settings: the floors.
        epochs_per_weight: how often the proxies see each domain at weight 1, length d; None for no repetition.
        seed: of the resampled rows.

    >>> evidence = NgramEvidence(("web", "code"), {"web": np.array([[0.5, 0.1], [0.25, 0.05]])})
    >>> share = np.linspace(0, 1, 12)
    >>> weights = np.column_stack([share, 1 - share])
    >>> [found] = trust(weights, 2 + 3 * evidence.losses(weights), evidence, TrustSettings())
    >>> found.trusted, round(found.rank, 2), round(found.slope, 2)
    (True, 1.0, 3.0)
    """
    law = NgramLaw(evidence, epochs_per_weight).fit(weights, losses)
    predicted, slopes = law.learned_["left_out"], law.learned_["slope"][:, 0]
    errors = rmse(predicted, losses) / np.maximum(losses.std(axis=0), 1e-12)
    generator = np.random.Generator(np.random.PCG64(seed))
    draws = generator.integers(0, len(losses), (DRAWS, len(losses)))
    resampled = np.array([spearman(predicted[rows], losses[rows]) for rows in draws])
    ranks, low = spearman(predicted, losses), np.nanquantile(resampled, QUANTILE, axis=0)
    found = []
    for target, *numbers in zip(
        evidence.targets, ranks.tolist(), low.tolist(), slopes.tolist(), errors.tolist(), strict=True
    ):
        rank, least, slope, error = numbers
        why = _below(len(losses), least, slope, error, settings)
        found.append(Trust(target, len(losses), rank, least, slope, error, not why, why))
    return found


def _below(rows: int, rank_low: float, slope: float, error: float, settings: TrustSettings) -> str:
    """The floor that does not hold, in words."""
    if rows < settings.pilots:
        return f"{rows} mixtures are measured, {settings.pilots} are needed"
    if slope <= 0:
        return "losses fall where counts say that they rise"
    if not rank_low >= settings.rank:
        return f"rank correlation may be as low as {rank_low:.2f}, {settings.rank:.2f} is the floor"
    if not error <= settings.error:
        return f"the error on mixtures left out is {error:.2f} of the losses' deviation, at most {settings.error:.2f}"
    return ""


def trusted(found: Sequence[Trust], counted: Mapping[str, float] | None = None) -> bool:
    """Whether counts are trusted on every target that counts; of none, they are not."""
    judged = [each for each in found if counted is None or counted.get(each.target, 0) > 0]
    return bool(judged) and all(each.trusted for each in judged)
