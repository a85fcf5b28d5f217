"""Kinds of synthetic worlds, and how the constants of one are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import StudyError
from regmix_pipeline.strategies.synthetic.law import WorldLaw

Array = NDArray[np.float64]
REFERENCE = (1e6, 1e8)
"""Parameters and tokens at which a law's constants are stated: those of a proxy."""
GUESSING = float(np.log(50_432))
"""Loss of an untrained model, nats per token: a guess among RegMix's vocabulary."""
UNLEARNED = 4.5
"""What an untrained model lacks of every skill, as a multiple of what one lacks whose help is 1."""


@dataclass(frozen=True)
class WorldSettings:
    """What a world is like.

    Attributes:
        domains: how many, 2 to 1000.
        outside: targets that no domain holds.
        objective: targets of the objective, at most `outside` + `domains`: those outside first, then domains.
        transfer: chance that a domain teaches something of a skill that is not its own.
        pairs: pairs of domains that work together or against each other.
        bond: deviation of the strength of a pair, in the logarithm of the help.
        unevenness: deviation of the logarithm of the domains' natural sizes.
        supply: available tokens of all domains over the target run's tokens.
        max_epochs: how often the target run may repeat a token; 0: every domain as often as is best for it, which only
            the world knows.
        scarcity: available tokens of the domain that helps the objective most, as a share of what it would have had.
        growth: deviation of the powers of the model's size in what domains teach: what sets proxies' ranks apart from
            the target run's.
        returns: half the range of the powers of domains' tokens, about 0.7. Unlike returns part ranks as well, since
            the target run has 250 times a proxy's tokens.
        stretch: deviation of the powers of the model's size in what texts' losses spread by, around minus half of it:
            the spread of a weighted objective's parts then changes with size, and its ranks with it.
        own_noise: deviation of a proxy's loss that its mixture has alone, nats per token.
        seed_noise: deviation that all mixtures of a seed share, nats per token.
        window_noise: deviation of a loss along the way, from few windows, nats per token.
        decay: repetitions after which a token's worth has fallen to 1/e (Muennighoff et al., arXiv 2305.16264).
        decays: lowest and highest of them where domains differ, drawn evenly in their logarithm; it goes before
            `decay`.
        harm: what repetitions of a worn-out domain take away, as a share of a new token.
    """

    domains: int = 8
    outside: int = 3
    objective: int = 2
    transfer: float = 0.3
    pairs: int = 0
    bond: float = 0.0
    unevenness: float = 1.0
    supply: float = 20.0
    max_epochs: float = 4.0
    scarcity: float = 1.0
    growth: float = 0.02
    returns: float = 0.05
    stretch: float = 0.0
    own_noise: float = 0.005
    seed_noise: float = 0.01
    window_noise: float = 0.02
    decay: float = 15.4
    decays: tuple[float, float] | None = None
    harm: float = 0.0

    def check(self) -> None:
        """Raise StudyError where the settings describe no world."""
        if not 2 <= self.domains <= 1000:
            raise StudyError(f"{self.domains} domains", where="world.domains", remedy="ask for 2 to 1000")
        if not 1 <= self.objective <= self.outside + self.domains:
            raise StudyError(
                f"an objective of {self.objective} targets", where="world.objective", remedy="ask for one that exists"
            )
        if not self.max_epochs and not self.harm:
            raise StudyError(
                "without harm no number of epochs is best", where="world.max_epochs", remedy="state it, or harm"
            )
        if self.supply * (self.max_epochs or 1) < 1 or not 0 < self.scarcity <= 1:
            raise StudyError(
                "too few tokens for the target run", where="world.supply", remedy="raise supply or max_epochs"
            )


WORN = WorldSettings(domains=8, supply=1.2, scarcity=0.15, unevenness=0.8, decays=(15.4 / 3, 15.4 * 3), harm=0.05)
"""`scarce`, and domains wear out unlike each other."""
PRESETS: Mapping[str, WorldSettings] = {
    "easy": WorldSettings(domains=6, own_noise=0.002, growth=0.01, returns=0.03),
    "interactions": WorldSettings(pairs=12, bond=1.0),
    "scarce": WorldSettings(domains=8, supply=1.2, scarcity=0.15, unevenness=0.8),
    "worn": WORN,
    "worn_own": replace(WORN, max_epochs=0),
    "worn_loose": replace(WORN, max_epochs=20),
    "many": WorldSettings(domains=100, transfer=0.06, unevenness=1.3),
    "noisy": WorldSettings(own_noise=0.03, seed_noise=0.05, window_noise=0.06, growth=0.04, returns=0.1),
    "sizes": WorldSettings(objective=6, stretch=0.12, growth=0.03, returns=0.07),
}
"""easy: few domains, little noise. interactions: pairs help or harm each other. scarce: the best domain runs out. worn:
the same, domains wear out unlike each other, by a factor of three either way, and too many epochs harm; 4 are allowed.
worn_own: as many as are best for each. worn_loose: 20. many: 100 domains. noisy: losses that hide small differences,
and proxies that rank less like the target. sizes: an objective of six texts whose spreads change with the model, each
by its own power."""


def settings_of(preset: str) -> WorldSettings:
    """A preset's settings.

    Raises:
        StudyError: no such preset.
    """
    if preset not in PRESETS:
        raise StudyError(f"no preset {preset!r}", where="world", remedy=f"use one of {', '.join(PRESETS)}")
    return PRESETS[preset]


def drawn_law(settings: WorldSettings, generator: np.random.Generator) -> WorldLaw:
    """Constants of a world's law."""
    d, rows = settings.domains, settings.domains + settings.outside
    # Everything teaches a little of everything; a domain teaches its own skill most, and some of the others'.
    teach = generator.uniform(0.002, 0.01, (rows, d))
    teach += (generator.random((rows, d)) < settings.transfer) * generator.gamma(1.0, 0.12, (rows, d))
    teach[np.arange(d), np.arange(d)] = generator.uniform(0.6, 1.0, d)
    # A domain's own text asks for its skill most; a text that no domain holds for those of a few domains.
    need = np.zeros((rows, rows))
    for row in range(rows):
        others = generator.choice(d, size=min(4, d), replace=False)
        need[row, others] = generator.dirichlet(np.ones(len(others))) * 0.5
        need[row, row] += 0.5
        if row >= d:
            near = generator.choice(d, size=min(3, d), replace=False)
            teach[row, near] += generator.uniform(0.2, 0.7, len(near))
    pairs = np.array([generator.choice(d, size=2, replace=False) for _ in range(settings.pairs)]).reshape(-1, 2)
    fall = generator.uniform(0.30, 0.45, rows)
    floor, width = generator.uniform(1.2, 2.2, rows), generator.uniform(0.8, 1.2, rows)
    return WorldLaw(
        teach=teach,
        growth=generator.normal(0, settings.growth, (rows, d)),
        returns=generator.uniform(0.70 - settings.returns, 0.70 + settings.returns, d),
        pairs=pairs,
        bonds=generator.normal(0, settings.bond, (rows, len(pairs))),
        need=need,
        start=UNLEARNED ** (-1 / fall),
        fall=fall,
        floor=floor,
        width=width,
        shrink=0.3,
        scale=(GUESSING - floor - width) / UNLEARNED,
        # Drawn last, and only where it is asked for: other worlds stay what they are.
        stretch=generator.normal(-settings.stretch / 2, settings.stretch, rows) if settings.stretch else np.zeros(rows),
        decay=settings.decay if settings.decays is None else _decays(settings, generator),
        reference=REFERENCE,
        harm=settings.harm,
    )


def _decays(settings: WorldSettings, generator: np.random.Generator) -> Array:
    low, high = np.log(settings.decays or (settings.decay,) * 2)
    return np.exp(generator.uniform(low, high, settings.domains))


def objective_of(settings: WorldSettings, names: list[str], generator: np.random.Generator) -> dict[str, float]:
    """Target -> share of the objective, summing to 1: targets outside first, then domains taken at random.

    Args:
        settings: how many.
        names: of all texts, the domains' first.
        generator: of the choice and the shares.
    """
    d = settings.domains
    chosen = [*names[d:], *(names[i] for i in generator.permutation(d))][: settings.objective]
    shares = generator.dirichlet(np.full(len(chosen), 5.0))
    return {name: float(share) for name, share in zip(chosen, shares, strict=True)}


def natural_sizes(settings: WorldSettings, usefulness: Array, generator: np.random.Generator) -> Array:
    """Natural weights, (d,), summing to 1; the domain of most ``usefulness`` (d,) is made scarce."""
    sizes = np.exp(settings.unevenness * generator.standard_normal(settings.domains))
    sizes[int(usefulness.argmax())] *= settings.scarcity
    return sizes / sizes.sum()
