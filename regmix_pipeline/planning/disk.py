"""What a study leaves on disk, and how many rows in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from regmix_pipeline.planning.text import Text
from regmix_pipeline.planning.work import COMPARED, Work, choices_and_candidates, mixture_count, proxy_count
from regmix_pipeline.proxies.curves import POINTS as CURVE_POINTS
from regmix_pipeline.regression.folds import FEWEST_ROWS_BY_REGION
from regmix_pipeline.study.phases import coordinates
from regmix_pipeline.study.study import Study

_SNAPSHOT = 12
"""Bytes a parameter in a snapshot: itself and AdamW's two averages."""
_PROXY_FILES = 16_000
"""Bytes of `proxy.json` and `trajectory.parquet` beside the weights, and 200 more a target and point."""
_STEP = 24
"""Bytes of an optimiser step in `trajectory.parquet`."""
_EVALUATION = 1_000
_RECORD, _PART, _EVENTS = 9_000, 11_000, 40_000
"""Bytes of a record (current and history), of a table's Parquet part, of Dagster's events of a partition."""
_LEDGER, _ROW = 4_400_000, 60
"""Bytes of an empty ledger, and of a row in it."""
_METRICS, _NESTED, _LAWS = 3, 2, 3


def ledger_rows(study: Study, works: Sequence[Work]) -> dict[str, int]:
    """Table -> rows after one run; where a table has a row a domain of positive weight, as if all were.

    Of tables that only people, imports and earlier domains fill there is none.
    """
    domains, targets, mixtures = len(coordinates(study)), len(study.targets), mixture_count(study)
    sources, proxies = len(study.sources), proxy_count(study)
    points = works[0].sampled_windows // (targets * study.proxies.evaluation.trajectory_windows) if works else 0
    regions = study.regression.extrapolation != "off" and mixtures >= FEWEST_ROWS_BY_REGION
    splits = 1 + regions
    regressors = len(study.regression.regressors) + 2 * (study.limits.target_tokens is not None)
    rows = {
        "domain_inventory": max(sources, len(study.domains)),
        "mixtures": mixtures * domains,
        "proxies": proxies * domains,
        "proxy_losses": proxies * targets * (points + 1),
        "training_curves": proxies * min(CURVE_POINTS, works[0].steps) if works and not works[0].command else 0,
        "regressor_scores": (splits * regressors + _NESTED) * targets * _METRICS + targets,
        "regressor_choices": 2 * targets,
        "noise_floor": targets if study.proxies.noise.mixtures > 1 else 0,
        "step_laws": _LAWS * targets * points if study.regression.step_laws else 0,
        "out_of_fold": mixtures * targets,
        "optimal_mixture": domains,
        "predictions": (4 + len(study.alternatives)) * (targets + 1),
        "further_mixtures": study.refit.batch * domains,
        "decisions": 1,
        "confirmations": COMPARED * study.confirmation.seeds * (targets + 1) if study.confirmation else 0,
        "records": 2 * (mixtures + sources) + 14,
        "lineage": mixtures * (len(study.domains) + targets + 2) + 5 * sources + 25,
    }
    if study.proxies.sizes:
        larger = sum(min(size.mixtures, mixtures) for size in study.proxies.sizes)
        rows |= {"size_losses": larger * targets, "size_scores": 3}
    if study.strategies is not None:
        choices, tried = choices_and_candidates(study.strategies)
        sizes = 3 + (study.strategies.small_proxy is not None)
        losses = choices * study.strategies.seeds * (targets + 1)
        rows |= {"strategy_choices": choices, "strategy_losses": losses, "strategy_candidates": tried * sizes}
    return {table: number for table, number in rows.items() if number} if study.trains else {}


def disk_of(study: Study, works: Sequence[Work], text: Text, workers: int) -> dict[str, float]:
    """What -> bytes on disk after one run; snapshots only while it goes on."""
    sources, mixtures = len(study.sources), mixture_count(study)
    own = [work for work in works if not work.command]
    rows = sum(ledger_rows(study, works).values())
    points = works[0].sampled_windows // study.proxies.evaluation.trajectory_windows if works else 0
    return {
        "shards": text.tokens * text.token_bytes,
        "checkpoints": float(sum(work.bytes for work in works)),
        "snapshots": float(max((min(workers, work.models) * work.parameters * _SNAPSHOT for work in own), default=0)),
        "trajectories": float(
            sum(work.models * (_PROXY_FILES + _STEP * (0 if work.command else work.steps)) for work in works)
            + 200 * points * proxy_count(study)
        ),
        "losses": float(sum(work.evaluations for work in works) * _EVALUATION),
        "records, tables, events": float(2 * (mixtures + sources) * (_RECORD + _PART) + mixtures * _EVENTS),
        "ledger": float(_LEDGER + rows * _ROW),
    }
