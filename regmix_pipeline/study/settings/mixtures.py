"""How mixtures are sampled; every constant of RegMix's published sampler, with its published value as default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from regmix_pipeline.study.settings.base import Settings

PARTS = 1_000_000
"""Parts a mixture is divided into: weights are exact to one part per million."""


class Anchors(Settings):
    """Named mixtures trained beside the sampled ones."""

    natural: bool = True
    """The prior itself: every domain in proportion to its tokens, under the caps."""
    uniform: bool = False
    """Every domain alike, under the caps."""
    single_domain: bool = False
    """One mixture per domain that holds nothing else. Ignores caps: these are measurements, not candidates."""


class RoundSettings(Settings):
    """How the proxies of a study are spread over rounds: each round after the first is chosen by what the rounds before
    taught."""

    number: int = Field(default=4, ge=1, le=100)
    """Rounds, the sampled one included. 1: all mixtures are sampled at once. Fewer rounds are larger, and keep more
    workers busy."""
    first: float = Field(default=0.35, gt=0, le=1)
    """Share of `count` that the sampler draws for the first round, which holds 10 mixtures at least. Fewer than 16 in
    all are sampled at once."""
    pilots: int = Field(default=12, ge=0)
    """Mixtures sampled before n-gram counts are judged by them, where the study counts n-grams and `count` is at least
    three times as many; 0: never. Where counts are trusted (see `regression.trust`), one more round ends the study;
    where not, the sampler draws the rest of the first round, and rounds go on."""
    trusted: int = Field(default=12, ge=1)
    """Mixtures of that one more round."""
    rule: Literal["thompson", "lower_bound", "regret_reduction"] = "regret_reduction"
    """How a round's mixtures are chosen from the Gaussian process fitted to the rounds before: the best mixtures of
    functions drawn from it; the least lower bounds; or those whose measurement is expected to lower the best predicted
    loss most."""


FIRST_ROUND = 10
"""Mixtures that the first round holds at least."""
FEWEST_IN_ROUNDS = 16
"""Mixtures below which all are sampled at once."""


class MixtureSettings(Settings):
    """RegMix's sampler (arXiv 2407.01492, section 3.1 and its synthesize_mixture.py)."""

    count: int = Field(default=512, ge=0, le=100_000)
    """Mixtures to sample, anchors not counted."""
    temperature: float = Field(default=0.5, gt=0, le=1)
    """Exponent on the prior before it becomes the Dirichlet's mean; below 1 lifts small domains."""
    min_strength: float = Field(default=0.1, gt=0)
    """Smallest Dirichlet concentration: nearly one domain at a time."""
    max_strength: float = Field(default=5.0, gt=0)
    """Largest Dirichlet concentration: close to the tempered prior. Where no draw of the usual strengths stays below
    `max_usage`, as with hundreds of domains, strengths that are not stated are multiplied until draws do."""
    strengths: int = Field(default=15, ge=1, le=1_000)
    """Concentrations tried, spaced evenly in the logarithm."""
    max_usage: float = Field(default=15.0, gt=0)
    """Draws with a weight above this many times the domain's prior are rejected."""
    minimum: float = Field(default=2e-4, gt=0, le=0.1)
    """Weights below this become zero, and weights are multiples of it. A whole fraction of 1, in parts per million."""
    oversample: int = Field(default=100, ge=1, le=10_000)
    """Draws per mixture wanted, from which duplicates are dropped before the choice."""
    choice: Literal["random", "space_filling"] = "random"
    """How mixtures are chosen from the oversampled pool: as published, or by farthest-point design, which is worth it
    with fewer than about four proxies a domain, from a pool of some 4 x `count`."""
    arrivals: int = Field(default=6, ge=0, le=10_000)
    """Mixtures drawn for a domain that comes after the others were sampled (or is a part of a split one): spread over
    its weight up to the cap, and far from what was measured. What was sampled before stays."""
    under_caps: bool = True
    """Reject draws above the availability caps too, so that proxies cover the region that can be chosen. What was drawn
    stays when caps and floors change: they limit the search, and what is drawn from then on."""
    draw: int = Field(default=0, ge=0)
    """Raise it by one to draw again under today's caps and floors: mixtures beyond them make room for new ones, and
    stay evidence where their proxies were trained."""
    anchors: Anchors = Anchors()
    """Named mixtures trained as well."""
    rounds: RoundSettings = RoundSettings()
    """How `count` is spread over rounds."""

    @field_validator("minimum")
    @classmethod
    def _whole_parts(cls, minimum: float) -> float:
        parts = minimum * PARTS
        if parts < 1 or abs(parts - round(parts)) > 1e-9 or PARTS % round(parts):
            raise ValueError("must divide 1 in whole parts per million, such as 0.0002, 0.001 or 0.00001")
        return minimum

    @model_validator(mode="after")
    def _strengths_in_order(self) -> MixtureSettings:
        if self.min_strength > self.max_strength:
            raise ValueError("min_strength is above max_strength")
        return self

    @property
    def round_sizes(self) -> tuple[int, ...]:
        """Mixtures of each round; the first is sampled. Anchors are not counted.

        >>> MixtureSettings(count=64).round_sizes
        (22, 14, 14, 14)
        >>> MixtureSettings(count=18).round_sizes, MixtureSettings(count=12).round_sizes
        ((10, 3, 3, 2), (12,))
        """
        at_once = self.rounds.number == 1 or self.count < FEWEST_IN_ROUNDS
        first = self.count if at_once else max(round(self.count * self.rounds.first), FIRST_ROUND)
        left = self.count - first
        each, more = divmod(left, max(self.rounds.number - 1, 1))
        later = (each + (place < more) for place in range(self.rounds.number - 1))
        return (first, *(size for size in later if size))

    @property
    def pilot_sizes(self) -> tuple[int, ...]:
        """The same where n-gram counts are judged by pilots: these are the first round, the rest of what the sampler
        draws the second; `round_sizes` where there are too few mixtures for it.

        >>> MixtureSettings(count=64).pilot_sizes
        (12, 10, 14, 14, 14)
        >>> MixtureSettings(count=32).pilot_sizes
        (11, 7, 7, 7)
        """
        first, *later = self.round_sizes
        pilots = self.rounds.pilots
        if not later or not 0 < pilots < first or 3 * pilots > self.count:
            return self.round_sizes
        return (pilots, first - pilots, *later)

    @property
    def quantum(self) -> int:
        """`minimum` in parts per million."""
        return round(self.minimum * PARTS)
