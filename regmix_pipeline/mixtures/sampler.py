"""RegMix's sampler of mixtures, as published, except that every mixture sums to exactly 1.

One draw: take the prior to the power `temperature`, renormalise; draw one Dirichlet at each of `strengths` log-spaced
concentrations and keep one of them at random; reject it above `max_usage` x prior; zero what is below `minimum`;
quantise to multiples of `minimum`. The published code leaves rows summing to .996-1.003 after rounding; here the
largest remainders make up the difference. `oversample` draws are made per mixture wanted, duplicates dropped, and the
mixtures chosen at random from what is left. Asking for more later keeps what there was and chooses the rest from a
larger pool.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import MixtureError
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture, largest_remainder
from regmix_pipeline.study.settings.mixtures import MixtureSettings

BLOCK = 4096
"""Draws per block of counted randomness."""
MAX_BLOCKS = 256
"""Blocks tried before the limits are called too tight for rejection sampling: a million draws."""
USELESS_BLOCKS = 16
"""Blocks of draws above `max_usage`, every one, after which larger strengths are tried."""
FACTORS = (4, 16, 64, 256, 1024)
"""What strengths are multiplied by, until `USEFUL_SHARE` of the draws stay below `max_usage`."""
USEFUL_SHARE = 0.01
EVERY = 4
"""Of phases that are chosen at once, all are drawn alike in one of so many draws."""
EQUAL_SHARE = 0.2
"""Share of the mixtures that are the same in every such phase."""


def draw_block(prior: NDArray[np.float64], settings: MixtureSettings, seed: int, block: int) -> NDArray[np.float64]:
    """Raw draws from number block x BLOCK on, a pure function of the arguments; shape (BLOCK, d), rows sum to 1."""
    key = int(fingerprint("mixture draws", seed, block), 16)
    generator = np.random.Generator(np.random.Philox(key=key))
    tempered = prior**settings.temperature
    tempered = tempered / tempered.sum()
    strengths = np.geomspace(settings.min_strength, settings.max_strength, settings.strengths)
    # One of the 15 draws kept at random is one draw at a random strength.
    picked = strengths[generator.integers(settings.strengths, size=BLOCK)]
    gammas = generator.standard_gamma(picked[:, None] * tempered[None, :])
    totals = gammas.sum(axis=1, keepdims=True)
    # Tiny concentrations can underflow to an all-zero row: such a Dirichlet sits on one domain.
    lost = np.flatnonzero(totals[:, 0] <= 0)
    gammas[lost, generator.choice(len(prior), size=len(lost), p=tempered)] = 1.0
    return gammas / gammas.sum(axis=1, keepdims=True)


def strength_factor(prior: NDArray[np.float64], settings: MixtureSettings, seed: int) -> int:
    """What the strengths are multiplied by: 1 where draws stay below ``max_usage`` x the prior.

    The published strengths suit tens of domains. Of hundreds, each of a small prior, every draw puts far more than
    ``max_usage`` times its prior on one, and all are rejected. Strengths that a study states are taken as they are.

    >>> [strength_factor(np.full(count, 1 / count), MixtureSettings(), seed=0) for count in (17, 300)]
    [1, 16]
    """
    if {"min_strength", "max_strength", "strengths"} & settings.model_fields_set:
        return 1
    blocks = (draw_block(prior, settings, seed, block) for block in range(USELESS_BLOCKS))
    if any(_within_usage(draws, prior, settings).any() for draws in blocks):
        return 1
    for factor in FACTORS:
        if (
            _within_usage(draw_block(prior, _stronger(settings, factor), seed, 0), prior, settings).mean()
            > USEFUL_SHARE
        ):
            return factor
    return 1


def _stronger(settings: MixtureSettings, factor: int) -> MixtureSettings:
    strengths = {"min_strength": settings.min_strength * factor, "max_strength": settings.max_strength * factor}
    return settings.model_copy(update=strengths) if factor > 1 else settings


def _within_usage(
    draws: NDArray[np.float64], prior: NDArray[np.float64], settings: MixtureSettings
) -> NDArray[np.bool_]:
    return np.asarray((draws <= np.minimum(settings.max_usage * prior, 1.0)).all(axis=1))


def quantise(weights: NDArray[np.float64], settings: MixtureSettings) -> NDArray[np.int64]:
    """One draw, shape (d,), as parts per million: small weights dropped, multiples of `minimum`, sum exactly 1."""
    kept = np.where(weights < settings.minimum, 0.0, weights)
    return largest_remainder(kept / kept.sum(), PARTS // settings.quantum) * settings.quantum


def sample(
    prior: Sequence[float] | NDArray[np.float64],
    limits: Limits,
    settings: MixtureSettings,
    seed: int,
    existing: Sequence[Mixture] = (),
) -> list[Mixture]:
    """Mixtures for the proxies: ``existing`` ones first, unchanged, then new ones up to ``settings.count``.

    Args:
        prior: natural token distribution over ``limits.domains``, shape (d,), positive, summing to 1.
        limits: availability caps and floors; used when ``settings.under_caps``.
        settings: the sampler's constants.
        seed: the study's seed.
        existing: mixtures sampled earlier; never renamed, dropped or reordered.

    Raises:
        MixtureError: the limits leave no mixture, or so few that rejection finds none.
    """
    prior = np.asarray(prior, dtype=float)
    limits.check()
    missing = settings.count - len(existing)
    if missing <= 0:
        return list(existing)
    known = {mixture.id for mixture in existing}
    pool = [
        mixture for mixture in _pool(prior, limits, settings, seed, missing + len(known)) if mixture.id not in known
    ]
    if limits.together is not None:
        return [*existing, *_with_equal_ones(pool, existing, missing, limits, settings, seed)]
    return [*existing, *_chosen(pool, existing, missing, limits, settings, seed)]


def _chosen(
    pool: Sequence[Mixture],
    existing: Sequence[Mixture],
    missing: int,
    limits: Limits,
    settings: MixtureSettings,
    seed: int,
) -> list[Mixture]:
    """As many mixtures of a pool as are missing, chosen as the settings say."""
    if settings.choice == "space_filling":
        return _space_filling(pool, existing, min(missing, len(pool)), limits.domains)
    key = int(fingerprint("mixture choice", seed, len(existing)), 16)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(len(pool))
    return [pool[index] for index in order[:missing]]


def _with_equal_ones(
    pool: Sequence[Mixture],
    existing: Sequence[Mixture],
    missing: int,
    limits: Limits,
    settings: MixtureSettings,
    seed: int,
) -> list[Mixture]:
    """The same of phases that are chosen at once: `EQUAL_SHARE` of all mixtures are the same in every phase, as far as
    limits allow, so that what the order of domains does is measured against mixtures that know no order."""
    equal = [mixture for mixture in pool if same_in_phases(mixture, limits)]
    others = [mixture for mixture in pool if not same_in_phases(mixture, limits)]
    lacking = round(EQUAL_SHARE * settings.count) - sum(same_in_phases(mixture, limits) for mixture in existing)
    wanted = min(max(lacking, missing - len(others), 0), missing, len(equal))
    found = _chosen(equal, existing, wanted, limits, settings, seed)
    return [*found, *_chosen(others, [*existing, *found], missing - wanted, limits, settings, seed)]


def same_in_phases(mixture: Mixture, limits: Limits) -> bool:
    """Whether a mixture of several phases is the same in each, to within rounding."""
    together = limits.together
    if together is None:
        return False
    shares = together.table(mixture.vector(limits.domains)) / together.shares[:, None]
    return bool(np.ptp(shares, axis=0).max() <= 2 / min(together.parts.values()))


def _pool(
    prior: NDArray[np.float64], limits: Limits, settings: MixtureSettings, seed: int, at_least: int
) -> list[Mixture]:
    """Distinct accepted draws among the first oversample x count, or among more until there are ``at_least``."""
    if limits.together is not None:
        return _pool_of_phases(prior, limits, settings, seed, at_least)
    settings = _stronger(settings, strength_factor(prior, settings, seed))
    # Quantising moves a weight by less than this; what lies beyond the caps by more is rejected before the slow part.
    rough = limits.caps + settings.minimum * (1 + len(prior)) if settings.under_caps else np.ones(len(prior))
    found: dict[str, Mixture] = {}
    wanted_draws = settings.oversample * settings.count
    within_usage = 0
    for block in range(MAX_BLOCKS):
        draws = draw_block(prior, settings, seed, block)[: max(wanted_draws - block * BLOCK, 0) or BLOCK]
        usual = _within_usage(draws, prior, settings)
        within_usage += int(usual.sum())
        for row in draws[usual & (draws <= rough).all(axis=1)]:
            parts = quantise(row, settings)
            if settings.under_caps and not limits.allow(parts / PARTS):
                continue
            mixture = Mixture.of(dict(zip(limits.domains, parts.tolist(), strict=True)))
            found[mixture.id] = mixture
        if (block + 1) * BLOCK >= wanted_draws and len(found) >= at_least:
            return list(found.values())
    if len(found) >= at_least:
        return list(found.values())
    raise _too_few(len(found), at_least, within_usage, settings)


def _pool_of_phases(
    prior: NDArray[np.float64], limits: Limits, settings: MixtureSettings, seed: int, at_least: int
) -> list[Mixture]:
    """The same of phases that are chosen at once: each is drawn and quantised as a mixture of its own, in every
    `EVERY`-th draw all alike, and the draw is accepted where all together keep the limits. Where few of those alike
    keep them, more blocks are drawn for their sake, up to `USELESS_BLOCKS`."""
    together = limits.together
    assert together is not None
    parts, k = list(together.parts.values()), len(together.domains)
    priors = together.table(prior) / together.table(prior).sum(axis=-1, keepdims=True)
    settings = _stronger(settings, strength_factor(priors[0], settings, seed))
    rough = together.caps + settings.minimum * (1 + k) if settings.under_caps else np.ones(k)
    found: dict[str, Mixture] = {}
    alike: set[str] = set()
    wanted_draws, within_usage = settings.oversample * settings.count, 0
    for block in range(MAX_BLOCKS):
        drawn = [draw_block(each, settings, seed, block * len(parts) + number) for number, each in enumerate(priors)]
        for each in drawn[1:]:
            each[::EVERY] = drawn[0][::EVERY]
        table = np.stack(drawn, axis=1)[: max(wanted_draws - block * BLOCK, 0) or BLOCK]
        usual = np.all([_within_usage(table[:, p], priors[p], settings) for p in range(len(parts))], axis=0)
        within_usage += int(usual.sum())
        below = (np.einsum("mpk,p->mk", table, together.shares) <= rough).all(axis=1)
        for number in np.flatnonzero(usual & below):
            weights = [
                largest_remainder(quantise(row, settings) / PARTS, part)
                for row, part in zip(table[number], parts, strict=True)
            ]
            whole = np.concatenate(weights)
            if settings.under_caps and not limits.allow(whole / PARTS):
                continue
            mixture = Mixture.of(dict(zip(limits.domains, whole.tolist(), strict=True)))
            found[mixture.id] = mixture
            if number % EVERY == 0:
                alike.add(mixture.id)
        enough = block >= USELESS_BLOCKS or len(alike) >= EQUAL_SHARE * settings.count
        if (block + 1) * BLOCK >= wanted_draws and len(found) >= at_least and enough:
            return list(found.values())
    if len(found) >= at_least:
        return list(found.values())
    raise _too_few(len(found), at_least, within_usage, settings)


def _too_few(found: int, wanted: int, within_usage: int, settings: MixtureSettings) -> MixtureError:
    """The error of a sampler that rejects nearly all draws, naming the setting that rejects most of them."""
    draws = MAX_BLOCKS * BLOCK
    counted = f"{found} of the {wanted} mixtures wanted were found in {draws:,} draws"
    if within_usage < draws // 100:
        return MixtureError(
            f"{counted}: all but {within_usage:,} have a weight above max_usage ({settings.max_usage:g}) x the prior",
            where="mixtures.max_usage",
            remedy="raise mixtures.max_usage or mixtures.max_strength; with many domains each prior is small, so few "
            "draws stay below a multiple of it",
        )
    return MixtureError(
        f"{counted}: the caps and floors reject nearly all",
        where="mixtures",
        remedy="raise limits.max_epochs or the caps, lower floors, raise mixtures.max_strength, "
        "or set mixtures.under_caps to false",
    )


def with_new_domain(
    prior: NDArray[np.float64],
    limits: Limits,
    settings: MixtureSettings,
    seed: int,
    existing: Sequence[Mixture],
    domain: str,
    count: int,
) -> list[Mixture]:
    """Mixtures that measure what a domain is worth that none of ``existing`` has measured enough.

    The domain's weights in the sampler's pool are cut into ``count`` classes of equal width in their square root, and
    each class gives the mixture farthest (Hellinger) from everything measured or picked before.

    Args:
        prior, limits, settings, seed: as for `sample`.
        existing: mixtures measured before, over any of ``limits.domains``.
        domain: the domain.
        count: how many at most; fewer, or none, where caps or the prior leave the domain next to no weight.

    Raises:
        MixtureError: the limits leave no mixture at all.
    """
    place = limits.domains.index(domain)
    known = {mixture.id for mixture in existing}
    pool = [
        mixture
        for mixture in _pool(prior, limits, settings, seed, 1)
        if mixture.id not in known and dict(mixture.parts).get(domain)
    ]
    count = min(count, len(pool))
    if not count:
        return []
    points = np.sqrt([mixture.vector(limits.domains) for mixture in pool])
    known = np.sqrt([mixture.vector(limits.domains) for mixture in existing]) if existing else points[:1]
    return [pool[index] for index in spread_over(points, known, place, count)]


def spread_over(points: NDArray[np.float64], known: NDArray[np.float64], place: int, count: int) -> list[int]:
    """Rows of ``points``, one for each of ``count`` classes of their column ``place``, far from all others.

    Args:
        points: square roots of mixtures' weights, shape (m, d), m >= count.
        known: the same of mixtures measured before, shape (n, d).
        place: column whose range is cut into classes of equal width.
        count: classes.

    Returns:
        Distinct row numbers: in each class the row farthest (Hellinger) from what is known or was picked before.
    """
    share = points[:, place] / points[:, place].max()
    nearest = np.min([((points - point) ** 2).sum(axis=1) for point in known], axis=0)
    picked: list[int] = []
    for number in range(count):
        free = np.ones(len(points), dtype=bool)
        free[picked] = False
        inside = free & (share > number / count) & (share <= (number + 1) / count)
        index = int(np.where(inside if inside.any() else free, nearest, -1.0).argmax())
        picked.append(index)
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(axis=1))
    return picked


def _space_filling(
    pool: Sequence[Mixture], existing: Sequence[Mixture], count: int, domains: Sequence[str]
) -> list[Mixture]:
    """Farthest-point design (Gonzalez 1985): each new mixture is the one farthest from all chosen before.

    Distance is Hellinger's, Euclidean between square roots of the weights, which spreads small weights too.
    """
    points = np.sqrt([mixture.vector(domains) for mixture in pool])
    chosen = [np.sqrt(mixture.vector(domains)) for mixture in existing] or [points.mean(axis=0)]
    nearest = np.min([((points - point) ** 2).sum(axis=1) for point in chosen], axis=0)
    picked: list[Mixture] = []
    for _ in range(count):
        index = int(nearest.argmax())
        picked.append(pool[index])
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(axis=1))
    return picked
