"""How the best mixture moves with the size of the model, by slopes of size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regmix_pipeline.files import fingerprint
from regmix_pipeline.regression.at_target import AtTarget
from regmix_pipeline.regression.estimator import Array
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.regression.sizes import ModelSize
from regmix_pipeline.search.candidates import candidates_inside
from regmix_pipeline.search.region import Region

POINTS = 7
"""Sizes between the proxies' and the target's, both among them."""
POOL, BEST = 4096, 16
"""Mixtures looked at, and the best whose mean is shown: the single best of many is a matter of luck."""


def size_path(
    fitted: FittedRegressor,
    found: AtTarget,
    region: Region,
    target_weights: Mapping[str, float],
    centres: Array,
    seed: int,
) -> list[dict[str, Any]]:
    """The best mixture at sizes from the proxies' to the target's, as rows: parameters, tokens, trained, weights.

    Args:
        fitted: the regressors of the proxies' size.
        found: the slopes of size.
        region: that mixtures lie in.
        target_weights: target -> weight in the objective.
        centres: mixtures around which more are looked at, (m, d).
        seed: of the mixtures looked at.
    """
    share = fitted.shares(target_weights)
    generator = np.random.Generator(np.random.Philox(key=int(fingerprint("size path", seed), 16)))
    pool = candidates_inside(region, centres, POOL, generator)
    if len(pool) < BEST:
        return []
    at_base, rows = fitted.predict(pool), []
    for size, trained in _sizes(found):
        values = found.law.moved(at_base, size) @ share
        best = pool[np.argsort(values, kind="stable")[:BEST]].mean(axis=0)
        rows.append(
            {
                "parameters": size.parameters,
                "tokens": size.tokens,
                "trained": trained,
                "weights": {name: float(weight) for name, weight in zip(fitted.domains, best, strict=True)},
            }
        )
    return rows


def _sizes(found: AtTarget) -> list[tuple[ModelSize, bool]]:
    """Evenly spaced in the logarithm, with those that were trained among them, the smallest first."""
    first, last = found.law.base, found.target
    steps = np.linspace(0, 1, POINTS)[1:]
    grown = last.parameters / first.parameters
    between = [
        ModelSize(
            first.parameters * grown**step,
            None
            if first.tokens is None or last.tokens is None
            else first.tokens * (last.tokens / first.tokens) ** step,
        )
        for step in steps
    ]
    every = [(size, True) for size in found.sizes] + [(size, False) for size in between]
    return sorted(every, key=lambda each: each[0].over(first))
