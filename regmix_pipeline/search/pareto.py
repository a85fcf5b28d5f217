"""The Pareto front between targets: mixtures that no other beats on every target at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.progress import Say
from regmix_pipeline.search.guardrails import rounded_keeping
from regmix_pipeline.search.objective import Objective
from regmix_pipeline.search.optimiser import optimise
from regmix_pipeline.search.region import Region
from regmix_pipeline.study.settings.search import SearchSettings

Array = NDArray[np.float64]


def pareto_front(
    objective: Objective, region: Region, settings: SearchSettings, points: int, seed: int, say: Say
) -> list[dict[str, Any]]:
    """Optima of ``points`` weightings of the objective's targets, those that another one dominates left out.

    Returns:
        rows with target_weights, mixture (id), parts, and losses (target -> predicted nats per token).
    """
    counted = [name for name, weight in objective.target_weights.items() if weight > 0]
    if len(counted) < 2 or points < 1:
        return []
    if len(counted) == 2:
        steps = np.linspace(0.02, 0.98, points)
        shares = np.stack([steps, 1 - steps], axis=1)
    else:
        key = int(fingerprint("pareto", seed), 16)
        shares = np.random.Generator(np.random.Philox(key=key)).dirichlet(np.ones(len(counted)), size=points)
    mixtures, rows = [], []
    for share in shares:
        weighting = dict(zip(counted, share.tolist(), strict=True))
        weighted = Objective(objective.fitted, weighting, objective.natural, guardrails=objective.guardrails)
        answer = optimise(weighted, region, settings, seed, lambda line: None)
        found = rounded_keeping(objective.guardrails, region, answer.weights, [objective.natural, *answer.anchors])
        mixtures.append(found.vector(region.limits.domains))
        rows.append({"target_weights": weighting, "mixture": found.id, "parts": dict(found.parts)})
    columns = [objective.fitted.targets.index(name) for name in counted]
    losses = objective.fitted.predict(np.array(mixtures))[:, columns]
    say(f"  Pareto front       {points} weightings of {len(counted)} targets")
    return [
        {**row, "losses": dict(zip(counted, losses[i].tolist(), strict=True))}
        for i, row in enumerate(rows)
        if not dominated(losses, i) and row["mixture"] not in [earlier["mixture"] for earlier in rows[:i]]
    ]


def dominated(losses: Array, row: int) -> bool:
    """Whether another row of (m, T) is at least as good on every target and better on one.

    >>> losses = np.array([[2.0, 3.0], [2.1, 2.9], [2.2, 3.1]])
    >>> [dominated(losses, row) for row in range(3)]
    [False, False, True]
    """
    return bool(((losses <= losses[row]).all(axis=1) & (losses < losses[row]).any(axis=1)).any())
