"""Mixtures for the first proxies, as a study draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from regmix_pipeline.api.fitted import SEED
from regmix_pipeline.api.limits import LargeRun
from regmix_pipeline.api.tables import mixtures_of, settings_of
from regmix_pipeline.mixtures.sampler import sample as sample_mixtures
from regmix_pipeline.study.settings.mixtures import MixtureSettings

if TYPE_CHECKING:
    import polars as pl


def sample(
    natural: Mapping[str, float],
    count: int,
    *,
    limits: LargeRun | Mapping[str, Any] | None = None,
    settings: MixtureSettings | Mapping[str, Any] | None = None,
    seed: int = SEED,
) -> pl.DataFrame:
    """Mixtures to train the first proxies on, by RegMix's sampler: around the natural one, inside the limits.

    Args:
        natural: domain -> weight, all above 0 and summing to 1.
        count: of mixtures.
        limits: of the large run, see `LargeRun`.
        settings: the sampler's constants; a dictionary of `MixtureSettings`' fields does.
        seed: same input and seed, same mixtures; more of them later begin with the same draws.

    Returns:
        A row per mixture: its id as ``run``, and a column per domain. Rows sum to 1.

    Raises:
        MixtureError: the limits leave no mixture, or hardly any.

    >>> found = sample({"web": 0.7, "code": 0.2, "books": 0.1}, 16, limits={"caps": {"web": 0.6}})
    >>> found.columns, len(found), bool(found["web"].max() <= 0.6)
    (['run', 'web', 'code', 'books'], 16, True)
    """
    import polars as pl

    domains = tuple(natural)
    (mixture,) = mixtures_of(natural, domains, "natural")
    wanted = settings_of(MixtureSettings, settings).model_copy(update={"count": count})
    found = sample_mixtures(mixture.vector(domains), LargeRun.of(limits).limits(domains), wanted, seed)
    weights = np.array([each.vector(domains) for each in found])
    return pl.DataFrame(
        {"run": [each.id for each in found], **{name: weights[:, at] for at, name in enumerate(domains)}}
    )
