"""What strategies that learn from proxies have in common: how many they can afford, which mixtures, and the losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.strategies.arena import Arena, Array, Run, Size
from regmix_pipeline.study.settings.mixtures import MixtureSettings

FEWEST = 8
"""Proxies below which no regressor of the package is fitted."""


def affordable(arena: Arena, name: str, flops: float, each: float | None = None, least: int = FEWEST) -> int:
    """How often ``flops`` pay for something of ``each`` FLOPs, by default a proxy.

    Raises:
        StudyError: less often than ``least``.
    """
    each = arena.proxy.flops if each is None else each
    count = int(flops * (1 + 1e-9) // each)
    if count < least:
        raise too_small(arena, name, flops, least * each)
    return count


def too_small(arena: Arena, name: str, flops: float, least: float) -> StudyError:
    """The error that names the least budget that is not too small, in FLOPs."""
    proxies = math.ceil(round(least / arena.proxy.flops, 6))
    return StudyError(
        f"{name} cannot choose with {flops:.3g} FLOPs",
        where="strategies.budget_proxies",
        remedy=f"allow {least:.6g} FLOPs at least, those of {proxies} proxies, or leave it out",
    )


def smaller_proxy(arena: Arena, name: str) -> Size:
    """The size of the arena's smaller proxies.

    Raises:
        StudyError: it has none.
    """
    if arena.small_proxy is None:
        raise StudyError(
            f"{name} trains smaller proxies", where="strategies.small_proxy", remedy="give a smaller proxy"
        )
    return arena.small_proxy


def sampled(arena: Arena, settings: MixtureSettings, seed: int) -> list[Mixture]:
    """Mixtures of the package's sampler for the arena's domains; under its limits if the settings say so."""
    limits = arena.limits
    return list(
        _sampled(
            tuple(arena.prior.tolist()),
            limits.domains,
            tuple(limits.caps.tolist()),
            tuple(limits.floors.tolist()),
            settings.model_dump_json(),
            seed,
        )
    )


@lru_cache(maxsize=8)
def _sampled(
    prior: tuple[float, ...],
    domains: tuple[str, ...],
    caps: tuple[float, ...],
    floors: tuple[float, ...],
    settings_as_json: str,
    seed: int,
) -> tuple[Mixture, ...]:
    settings = MixtureSettings.model_validate_json(settings_as_json)
    # Kept, since strategies that are compared ask for the same draws, and a hundredfold pool of them takes seconds.
    if not settings.under_caps:
        caps, floors = (1.0,) * len(domains), (0.0,) * len(domains)
    weights = np.array(prior) / sum(prior)
    return tuple(sample(weights, Limits(domains, np.array(caps), np.array(floors)), settings, seed))


def loss_table(arena: Arena, runs: Sequence[Run]) -> tuple[Array, Array, list[str]]:
    """Weights (n, d) of runs, their losses (n, T) on the objective's targets, and these targets' names."""
    targets = list(objective_counted(arena))
    weights = np.array([run.mixture.vector(arena.domains) for run in runs])
    return weights, np.array([[run.losses[target] for target in targets] for run in runs]), targets


def objective_shares(arena: Arena) -> Array:
    """Shares of the objective's targets in the order of `loss_table`, (T,), summing to 1."""
    shares = np.array(list(objective_counted(arena).values()))
    return shares / shares.sum()


def objective_counted(arena: Arena) -> dict[str, float]:
    """Target -> share of those in the objective, in the order of `loss_table`."""
    return {target: share for target, share in arena.objective.items() if share > 0}
