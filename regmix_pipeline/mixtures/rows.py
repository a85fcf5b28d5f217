"""Mixtures as rows of the ledger's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regmix_pipeline.mixtures.mixture import Mixture

_NONE: Mapping[str, Any] = {}


def mixture_rows(
    mixtures: Mapping[str, Mixture],
    domains: Sequence[str],
    origins: Mapping[str, str],
    rounds: Mapping[str, int] = _NONE,
    drawn_under: Mapping[str, str | None] = _NONE,
) -> list[dict[str, Any]]:
    """Rows of the table ``mixtures``: one for each mixture and domain, weights of zero among them.

    Args:
        mixtures: id -> mixture, in the order of their positions.
        domains: the study's, and those that its earlier runs drew on.
        origins: id -> why the mixture is there, such as sampled or imported.
        rounds: id -> round of those that have one.
        drawn_under: id -> version of the domain inventory whose caps held for the draw.
    """
    return [
        {
            "mixture": key,
            "position": position,
            "origin": origins[key],
            "round": rounds.get(key),
            "domain": domain,
            "weight": float(weight),
            "drawn_under": drawn_under.get(key),
        }
        for position, (key, mixture) in enumerate(mixtures.items())
        for domain, weight in zip(domains, mixture.vector(domains), strict=True)
    ]
