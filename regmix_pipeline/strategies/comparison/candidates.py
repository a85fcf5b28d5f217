"""RegMix's own test: do small models rank mixtures as large ones do?

Mixtures drawn by the sampler of the study, and the strategies' choices among them, are trained at every size; the
study's regressor predicts them from proxies that were trained on other mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.tasks import proxy_seed
from regmix_pipeline.strategies.arena import Size
from regmix_pipeline.strategies.comparison.compared import Compared, objective_error, objective_of
from regmix_pipeline.strategies.trained.arena import FINAL_SEED, TrainedArena

OTHER_SEED = 7919
"""Candidates are drawn with the study's seed plus this: they are other mixtures than the proxies'."""
DRAWS = 2000
"""Bootstrap draws behind an interval."""
LEVEL = 0.9
"""Its coverage."""


@dataclass(frozen=True)
class Candidate:
    """A mixture trained at every size.

    Attributes:
        mixture: it.
        names: strategies that chose it; empty for a mixture that was drawn.
        objective: target, proxy, small_proxy, regressor -> weighted loss, nats per token.
        errors: the same without regressor -> standard error over windows.
    """

    mixture: Mixture
    names: tuple[str, ...]
    objective: Mapping[str, float]
    errors: Mapping[str, float]


def candidates(workspace: Workspace, arena: TrainedArena, found: Mapping[str, Compared]) -> list[Candidate]:
    """Train and predict the candidates; none where the study asks for none.

    Raises:
        ProxyError: a run failed; the others are kept.
        MixtureError: the limits leave too few mixtures.
    """
    wanted = arena.settings.candidates
    if not wanted:
        return []
    names: dict[str, list[str]] = {}
    mixtures: dict[str, Mixture] = {}
    for name, each in found.items():
        if each.choice.mixture is not None:
            mixtures[each.choice.mixture.id] = each.choice.mixture
            names.setdefault(each.choice.mixture.id, []).append(name)
    known = set(current_mixtures(workspace))
    drawn = workspace.study.mixtures.model_copy(update={"count": wanted + len(known)})
    total = arena.settings.candidate_count(len(mixtures))
    for mixture in sample(arena.prior, arena.limits, drawn, workspace.study.seed + OTHER_SEED):
        if len(mixtures) < total and mixture.id not in known:
            mixtures.setdefault(mixture.id, mixture)
    sizes = [arena.target, arena.proxy, *([arena.small_proxy] if arena.small_proxy else [])]
    measured = _measured(workspace, arena, list(mixtures.values()), sizes)
    predicted = _predicted(workspace, list(mixtures.values()), arena.objective)
    return [
        Candidate(
            mixture,
            tuple(names.get(key, ())),
            {size: values[key][0] for size, values in measured.items()} | {"regressor": predicted[number]},
            {size: values[key][1] for size, values in measured.items()},
        )
        for number, (key, mixture) in enumerate(mixtures.items())
    ]


def _measured(
    workspace: Workspace, arena: TrainedArena, mixtures: list[Mixture], sizes: list[Size]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Size -> mixture id -> objective and its standard error, of one run each; the longest runs first."""
    specs = {}
    for size in sizes:
        is_target = size.name == arena.target.name
        seed = proxy_seed(workspace, 0) + (FINAL_SEED if is_target else 0)
        specs[size.name] = {each.id: arena.spec(each, size, seed, confirmed=is_target) for each in mixtures}
    arena.label = "candidates"
    measured = arena.measured([spec for group in specs.values() for spec in group.values()], "of all sizes")
    shares = arena.objective
    return {
        size: {
            key: (objective_of(measured[spec.id], shares), objective_error(measured[spec.id], shares))
            for key, spec in group.items()
        }
        for size, group in specs.items()
    }


def _predicted(workspace: Workspace, mixtures: list[Mixture], objective: Mapping[str, float]) -> list[float]:
    from regmix_pipeline.regression.fitted import FittedRegressor

    fitted = FittedRegressor.load(workspace.artefact("regressor", suffix="regressor.json").parent)
    weights = np.array([mixture.vector(fitted.domains) for mixture in mixtures])
    return fitted.objective(weights, objective).tolist()


def rank_correlations(found: list[Candidate], seed: int) -> dict[str, dict[str, float]]:
    """How well each smaller size, and the regressor, rank the candidates as the target does.

    Returns:
        Size -> spearman, low, high (90%, bootstrap over candidates), and rank_of_its_best: of the candidate that it
        holds to be best, the place on the target, from 1; gap_of_its_best: how much worse that one is there than the
        best, nats per token.
    """
    from scipy.stats import rankdata

    from regmix_pipeline.regression.metrics import scores_with_intervals

    names = [name for name in found[0].objective if name != "target"]
    theirs = np.array([[each.objective[name] for name in names] for each in found])
    target = np.array([each.objective["target"] for each in found])
    actual = np.repeat(target[:, None], len(names), axis=1)
    value, low, high = scores_with_intervals(theirs, actual, LEVEL, DRAWS, seed)["spearman"]
    places, best = rankdata(target, method="min"), theirs.argmin(axis=0)
    return {
        name: {
            "spearman": float(value[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "rank_of_its_best": int(places[best[i]]),
            "gap_of_its_best": float(target[best[i]] - target.min()),
        }
        for i, name in enumerate(names)
    }
