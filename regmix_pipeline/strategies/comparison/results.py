"""What a comparison found: the ranking, with differences paired by seed, and the rows of the ledger's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from regmix_pipeline.strategies.comparison.candidates import Candidate, rank_correlations
from regmix_pipeline.strategies.comparison.compared import Compared, objective_error, objective_of, within_limits
from regmix_pipeline.strategies.trained.arena import TrainedArena

LEVEL = 0.9
"""Coverage of the ranking's intervals."""


def result_of(
    arena: TrainedArena, found: Mapping[str, Compared], tried: Sequence[Candidate], seed: int
) -> dict[str, Any]:
    """The comparison as JSON: its setting, the ranking from the best on, and the candidates' test."""
    sizes = {size.name: asdict(size) | {"flops": size.flops} for size in (arena.proxy, arena.target)}
    if arena.small_proxy is not None:
        sizes["small_proxy"] = asdict(arena.small_proxy) | {"flops": arena.small_proxy.flops}
    return {
        "arena": arena.id,
        "domains": arena.domains,
        "objective": dict(arena.objective),
        "sizes": sizes,
        "budget_proxies": arena.settings.budget_proxies,
        "seeds": arena.settings.seeds,
        "level": LEVEL,
        "ranking": ranking(arena, found),
        "candidates": _test(found, tried, seed) if tried else None,
    }


def ranking(arena: TrainedArena, found: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """A row a strategy, the lowest mean loss first.

    A difference is the mean over seeds of the strategy's loss less the natural mixture's of the same seed, so that what
    a seed does to both cancels; intervals are Student's over seeds. Both are None for one seed.
    """
    natural = found["natural"].objective(arena.objective)
    rows = []
    for name, each in found.items():
        losses = each.objective(arena.objective)
        account = each.choice.account
        rows.append(
            {
                "strategy": name,
                "kind": each.choice.kind,
                "mixture": each.choice.mixture.id if each.choice.mixture else None,
                "objective": float(losses.mean()),
                "half_interval": _half_interval(losses),
                "difference": float((losses - natural).mean()),
                "difference_half_interval": _half_interval(losses - natural),
                "difference_standard_error": _standard_error(losses - natural),
                "better_seeds": int((losses < natural).sum()),
                "seeds": len(losses),
                "runs": account.runs,
                "flops": account.flops,
                "share_of_target": account.flops / arena.target.flops,
                "share_of_budget": None
                if each.choice.budget_flops is None
                else account.flops / each.choice.budget_flops,
                "further_share_of_target": each.further_flops / arena.target.flops,
                "within_limits": within_limits(arena, each.drawn),
                "weights": dict(zip(arena.domains, np.round(each.drawn, 6).tolist(), strict=True)),
                "seconds": each.choice.seconds,
            }
        )
    return sorted(rows, key=lambda row: (row["objective"], row["strategy"]))


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _half_interval(values: np.ndarray) -> float | None:
    from scipy.stats import t

    error = _standard_error(values)
    return None if error is None else error * float(t.ppf((1 + LEVEL) / 2, len(values) - 1))


def _test(found: Mapping[str, Compared], tried: Sequence[Candidate], seed: int) -> dict[str, Any]:
    """What the candidates say: how well smaller models rank them, and where each strategy's choice comes in."""
    target = sorted(each.objective["target"] for each in tried)
    places = {
        name: target.index(each.objective["target"]) + 1 for name in found for each in tried if name in each.names
    }
    return {"mixtures": len(tried), "rank_correlations": rank_correlations(list(tried), seed), "places": places}


def choice_rows(found: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """Rows of the ledger's `strategy_choices`."""
    return [
        {
            "strategy": name,
            "choice": each.choice.id,
            "paper": each.choice.paper,
            "seed": each.choice.seed,
            "kind": each.choice.kind,
            "mixture": each.choice.mixture.id if each.choice.mixture else None,
            "schedule": json.dumps([[end, mixture.weights] for end, mixture in each.choice.schedule])
            if each.choice.schedule
            else None,
            "runs": each.choice.account.runs,
            "tokens": each.choice.account.tokens,
            "flops": each.choice.account.flops,
            "budget_flops": each.choice.budget_flops,
            "further_flops": each.further_flops,
            "details": json.dumps(dict(each.choice.details)),
            "seconds": each.choice.seconds,
        }
        for name, each in found.items()
    ]


MEASURED = ("loss", "standard_error", "bits_per_byte", "accuracy", "accuracy_standard_error")
"""What is kept of a loss; accuracy is known of tasks with choices alone."""


def loss_rows(arena: TrainedArena, found: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """Rows of the ledger's `strategy_losses`: every target's, and the objective's."""
    rows = []
    for name, each in found.items():
        for number, (run, losses) in enumerate(zip(each.runs, each.losses, strict=True)):
            common = {"strategy": name, "choice": each.choice.id, "run": run, "seed": number}
            rows += [
                common | {"target": target} | {key: loss[key] for key in MEASURED if key in loss}
                for target, loss in losses.items()
            ]
            rows.append(
                common
                | {
                    "target": "objective",
                    "loss": objective_of(losses, arena.objective),
                    "standard_error": objective_error(losses, arena.objective),
                    "bits_per_byte": None,
                }
            )
    return rows


def candidate_rows(tried: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Rows of the ledger's `strategy_candidates`."""
    return [
        {
            "mixture": each.mixture.id,
            "strategies": ", ".join(each.names),
            "weights": json.dumps(each.mixture.weights),
            "size": size,
            "objective": value,
            "standard_error": each.errors.get(size),
        }
        for each in tried
        for size, value in each.objective.items()
    ]
