"""What the report shows, read from the ledger into plain dataclasses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.numbers import finite

TABLES_SHOWN = (
    "domain_inventory",
    "text_overlap",
    "mixtures",
    "proxy_losses",
    "training_curves",
    "regressor_scores",
    "noise_floor",
    "out_of_fold",
    "confirmations",
)
"""Tables of the ledger that the report is made from, besides the records themselves."""

OBJECTIVE = "objective"
"""Name of the weighted mean of the targets, as the ledger has it."""

OVERLAP_SHOWN = 0.01
"""Share of a target's runs of tokens in a domain's training text from which on the overlap is shown."""


@dataclass(frozen=True)
class SourceRow:
    """A row of the inventory; counts of documents and tokens over both splits. Shares are None for outside targets."""

    source: str
    role: str
    documents: int
    train_tokens: int
    validation_tokens: int
    duplicates: int
    bytes_per_token: float | None
    available_tokens: int | None
    prior: float | None
    cap: float | None


@dataclass(frozen=True)
class TextOverlap:
    """What a domain's training text has of a target's text: shares of its runs of tokens, and of its tokens in equal
    documents."""

    target: str
    domain: str
    runs: float
    documents: float


@dataclass(frozen=True)
class MixtureLoss:
    """A mixture's final proxy loss on a target, nats per token, mean over seeds, with its standard error."""

    mixture: str
    origin: str
    loss: float
    standard_error: float | None


@dataclass(frozen=True)
class Score:
    """A regressor's out-of-fold score on a target with its interval."""

    regressor: str
    target: str
    split: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    chosen: bool


@dataclass(frozen=True)
class Noise:
    """A target's noise between seeds with its 90% interval, and what mixtures differ by; nats per token. None where no
    mixture was trained with several seeds, or where its standard errors were not looked at."""

    target: str
    mixtures: int | None
    seeds: int | None
    noise: float | None
    low: float | None
    high: float | None
    signal: float | None
    ratio: float | None
    flagged: bool
    standard_error: float | None = None
    spread_to_error: float | None = None


@dataclass(frozen=True)
class TrajectoryPoint:
    """Loss of the proxies at a point of training: median, and the band from the 10th to the 90th percentile."""

    tokens: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """A larger model's loss on a target, nats per token."""

    name: str
    seed: int
    target: str
    loss: float
    standard_error: float | None
    predicted: float | None


@dataclass(frozen=True)
class TaskRow:
    """What models make of a task: median, lowest and highest over the proxies, of bits per byte and of accuracy;
    and the accuracy of larger models, mean over seeds, by the mixture's name."""

    target: str
    bits_per_byte: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    larger: Mapping[str, float]


@dataclass(frozen=True)
class Version:
    """A current record: which version an asset holds and from which inputs it was made."""

    asset: str
    key: str
    version: str
    made_at: str
    run: str
    inputs: tuple[tuple[str, str], ...]

    @property
    def place(self) -> str:
        """``asset/key``, as decisions name it."""
        return f"{self.asset}/{self.key}"


@dataclass(frozen=True)
class Training:
    """How the proxies were trained and measured: counts, tokens."""

    proxies: int
    mixtures: int
    seeds: int
    steps: int | None
    tokens: int | None
    evaluated_low: int | None
    evaluated_high: int | None


@dataclass(frozen=True)
class ReportData:
    """Everything the page needs besides the decision record. Maps by target hold "objective" too."""

    schema_version: int
    inventory: list[SourceRow]
    overlaps: list[TextOverlap]
    origins: dict[str, str]
    weights: dict[str, dict[str, float]]
    training: Training
    losses: dict[str, list[MixtureLoss]]
    trajectories: dict[str, list[TrajectoryPoint]]
    scores: list[Score]
    noise: list[Noise]
    out_of_fold: dict[str, list[tuple[float, float]]]
    confirmation: list[Measured]
    versions: list[Version]
    settings: dict[str, Any]
    tasks: list[TaskRow] = field(default_factory=list)


def read_report_data(ledger: Path, decision: Mapping[str, Any]) -> ReportData:
    """Read what holds now from the ledger; confirmations are those of ``decision["decision"]``.

    Raises:
        LedgerError: there is no ledger.
    """
    objective = {name: float(share) for name, share in (decision.get("objective") or {}).items()}
    with read_ledger(ledger) as connection:
        return ReportData(
            schema_version=connection.execute("select schema_version from ledger_info").fetchall()[0][0],
            inventory=_inventory(connection),
            overlaps=_overlaps(connection),
            origins=dict(connection.execute("select distinct mixture, origin from current_mixtures").fetchall()),
            weights=_weights(connection),
            training=_training(connection),
            losses=_losses(connection, objective),
            trajectories=_trajectories(connection, objective),
            scores=_scores(connection),
            noise=_noise(connection),
            out_of_fold=_out_of_fold(connection, objective),
            confirmation=_confirmation(connection, str(decision.get("decision", "")), objective),
            versions=_versions(connection),
            settings=_settings(connection),
            tasks=_tasks(connection, str(decision.get("decision", ""))),
        )


def _inventory(connection: duckdb.DuckDBPyConnection) -> list[SourceRow]:
    rows = connection.execute(
        "select source, role, train_documents + validation_documents, train_tokens, validation_tokens, duplicates, "
        "bytes_per_token, available_tokens, prior, cap from current_domain_inventory "
        "order by role, prior desc nulls last, source"
    ).fetchall()
    return [SourceRow(*row) for row in rows]


def _overlaps(connection: duckdb.DuckDBPyConnection) -> list[TextOverlap]:
    rows = connection.execute(
        "select target, domain, runs, documents from current_text_overlap where runs >= ? "
        "order by runs desc, target, domain",
        [OVERLAP_SHOWN],
    ).fetchall()
    return [TextOverlap(*row) for row in rows]


def _weights(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, float]]:
    weights: dict[str, dict[str, float]] = {}
    for mixture, domain, weight in connection.execute(
        "select mixture, domain, weight from current_mixtures order by position, domain"
    ).fetchall():
        weights.setdefault(mixture, {})[domain] = weight
    return weights


def _training(connection: duckdb.DuckDBPyConnection) -> Training:
    row = connection.execute(
        "select count(distinct proxy), count(distinct mixture), count(distinct seed), max(step), max(tokens), "
        "min(evaluated_tokens), max(evaluated_tokens) from current_proxy_losses where final"
    ).fetchall()[0]
    return Training(*row)


MEASURED = """
with shares as (select unnest(?::varchar[]) as target, unnest(?::double[]) as share),
targets as (
    select proxy, mixture, seed, target, tokens, final, loss, standard_error
    from current_proxy_losses where isfinite(loss)
),
objective as (
    select proxy, mixture, seed, 'objective' as target, tokens, final,
        sum(share * loss) as loss, sqrt(sum((share * standard_error) ** 2)) as standard_error
    from targets join shares using (target)
    group by proxy, mixture, seed, tokens, final having count(*) = (select count(*) from shares)
),
measured as (select * from targets union all select * from objective)
"""


def _losses(connection: duckdb.DuckDBPyConnection, objective: Mapping[str, float]) -> dict[str, list[MixtureLoss]]:
    query = (
        "select l.target, l.mixture, coalesce(m.origin, 'withdrawn'), avg(l.loss), "
        "sqrt(sum(l.standard_error ** 2)) / count(*) from measured l "
        "left join (select mixture, min_by(origin, origin = 'earlier') as origin from current_mixtures "
        "group by mixture) m using (mixture) "
        "where l.final group by all order by l.target, avg(l.loss), l.mixture"
    )
    losses: dict[str, list[MixtureLoss]] = {}
    for target, *row in connection.execute(MEASURED + query, shares_of(objective)).fetchall():
        losses.setdefault(target, []).append(MixtureLoss(*row))
    return losses


def _trajectories(
    connection: duckdb.DuckDBPyConnection, objective: Mapping[str, float]
) -> dict[str, list[TrajectoryPoint]]:
    query = (
        "select target, tokens, median(loss), quantile_cont(loss, 0.1), quantile_cont(loss, 0.9) "
        "from measured where not final group by target, tokens order by target, tokens"
    )
    steps: dict[str, list[TrajectoryPoint]] = {}
    for target, *row in connection.execute(MEASURED + query, shares_of(objective)).fetchall():
        steps.setdefault(target, []).append(TrajectoryPoint(*row))
    return steps


def shares_of(objective: Mapping[str, float]) -> list[list[Any]]:
    return [list(objective), list(objective.values())]


def _scores(connection: duckdb.DuckDBPyConnection) -> list[Score]:
    rows = connection.execute(
        "select regressor, target, split, metric, value, low, high, coalesce(chosen, false) "
        "from current_regressor_scores order by target, split, regressor, metric"
    ).fetchall()
    return [
        Score(regressor, target, split, metric, finite(value), finite(low), finite(high), chosen)
        for regressor, target, split, metric, value, low, high, chosen in rows
    ]


def _noise(connection: duckdb.DuckDBPyConnection) -> list[Noise]:
    rows = connection.execute(
        "select target, mixtures, seeds, noise, noise_low, noise_high, signal, signal_to_noise, flagged, "
        "standard_error, spread_to_error "
        "from current_noise_floor order by target"
    ).fetchall()
    return [Noise(*row) for row in rows]


def _tasks(connection: duckdb.DuckDBPyConnection, decision: str) -> list[TaskRow]:
    """Targets with items that have choices, as the proxies and this decision's larger models answer them."""
    larger: dict[str, dict[str, float]] = {}
    for target, name, accuracy in connection.execute(
        "select target, name, avg(accuracy) from current_confirmations where decision = ? and accuracy is not null "
        "group by all order by all",
        [decision],
    ).fetchall():
        larger.setdefault(target, {})[name] = accuracy
    rows = connection.execute(
        "select target, median(bits_per_byte), min(bits_per_byte), max(bits_per_byte), "
        "median(accuracy), min(accuracy), max(accuracy) from current_proxy_losses "
        "where final group by target having count(accuracy) > 0 order by target"
    ).fetchall()
    return [
        TaskRow(target, (bits, low, high), (hits, least, most), larger.get(target, {}))
        for target, bits, low, high, hits, least, most in rows
    ]


def _out_of_fold(
    connection: duckdb.DuckDBPyConnection, objective: Mapping[str, float]
) -> dict[str, list[tuple[float, float]]]:
    """Target -> (measured, predicted) pairs; the objective's are added up where every target has one."""
    pairs: dict[str, dict[str, tuple[float, float]]] = {}
    for target, mixture, loss, predicted in connection.execute(
        "select target, mixture, loss, predicted from current_out_of_fold "
        "where isfinite(loss) and isfinite(predicted) order by target, mixture"
    ).fetchall():
        pairs.setdefault(target, {})[mixture] = (loss, predicted)
    if objective and OBJECTIVE not in pairs and set(objective) <= set(pairs):
        shared = set.intersection(*(set(pairs[target]) for target in objective))
        pairs[OBJECTIVE] = {
            mixture: (
                sum(share * pairs[target][mixture][0] for target, share in objective.items()),
                sum(share * pairs[target][mixture][1] for target, share in objective.items()),
            )
            for mixture in sorted(shared)
        }
    return {target: list(points.values()) for target, points in pairs.items()}


def _confirmation(
    connection: duckdb.DuckDBPyConnection, decision: str, objective: Mapping[str, float]
) -> list[Measured]:
    # One model may have been recorded under several versions of the asset: what holds now wins, then the latest.
    rows = connection.execute(
        "with dated as (select version, bool_or(current) as holds, max(made_at) as made_at from records "
        "where asset = 'confirmation' group by version), "
        "held as (select c.*, coalesce(d.holds, false) as holds, d.made_at from confirmations c "
        "left join dated d using (version) where c.decision = ? and isfinite(c.loss)) "
        "select name, seed, target, loss, standard_error, predicted from held "
        "where holds or not exists (select 1 from held where holds) "
        "qualify row_number() over (partition by name, seed, target order by made_at desc nulls last) = 1 "
        "order by target, name, seed",
        [decision],
    ).fetchall()
    measured = [
        Measured(name, seed, target, loss, finite(error), finite(predicted))
        for name, seed, target, loss, error, predicted in rows
    ]
    if measured and objective and all(row.target != OBJECTIVE for row in measured):
        measured += _confirmed_objective(measured, objective)
    return measured


def _confirmed_objective(rows: list[Measured], objective: Mapping[str, float]) -> list[Measured]:
    models: dict[tuple[str, int], dict[str, Measured]] = {}
    for row in rows:
        models.setdefault((row.name, row.seed), {})[row.target] = row
    added = []
    for (name, seed), by_target in models.items():
        if not set(objective) <= set(by_target):
            continue
        parts = [(share, by_target[target]) for target, share in objective.items()]
        errors = [share * (row.standard_error or 0.0) for share, row in parts]
        guesses = [row.predicted for _, row in parts]
        known = [guess for guess in guesses if guess is not None]
        predicted = float(np.dot([share for share, _ in parts], known)) if len(known) == len(guesses) else None
        loss = sum(share * row.loss for share, row in parts)
        added.append(Measured(name, seed, OBJECTIVE, loss, float(np.hypot.reduce(errors)), predicted))
    return added


def _versions(connection: duckdb.DuckDBPyConnection) -> list[Version]:
    inputs: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for *made, asset, key, version in connection.execute(
        "select asset, key, version, recipe, input_asset, input_key, input_version from lineage "
        "order by input_asset, input_key"
    ).fetchall():
        inputs.setdefault(tuple(made), []).append((f"{asset}/{key}", version))  # pyright: ignore[reportArgumentType]
    rows = connection.execute(
        "select asset, key, version, recipe, made_at, run from current_versions order by made_at, asset, key"
    ).fetchall()
    return [
        Version(asset, key, version, made_at, run, tuple(inputs.get((asset, key, version, recipe), ())))
        for asset, key, version, recipe, made_at, run in rows
    ]


def _settings(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Asset -> its current settings; of a partitioned asset, those of its first key."""
    rows = connection.execute(
        "select asset, arg_min(settings, key), min(made_at) from records where current group by asset order by 3, 1"
    ).fetchall()
    return {asset: json.loads(settings) for asset, settings, _ in rows}
