"""What the regressor learns from, of the files on record: mixtures, final losses, epochs, and losses along the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import RegressionError
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.proxies.earlier_stage import earlier_evidence
from regmix_pipeline.proxies.imports import imported_runs
from regmix_pipeline.proxies.noise import ELSEWHERE, NoiseFloor, mixture_means, noise_floor
from regmix_pipeline.study.phases import phase_parts

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from regmix_pipeline.regression.steps import Curves

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EpochRates:
    """How often runs see each domain's tokens.

    Attributes:
        rows: epochs of each domain at weight 1 (tokens trained on / tokens available) in each mixture's runs, (n, d).
        proxies: the same of the runs whose losses are predicted, (d,): the study's own proxies, or, where it trains
            none, the longest imported ones.
    """

    rows: Array
    proxies: Array


@dataclass(frozen=True)
class LossTable:
    """What the regressor learns from.

    Attributes:
        mixtures: mixture ids, length n.
        domains: the study's domains, then former ones that earlier runs drew on, length d.
        weights: shape (n, d).
        losses: final losses in nats per token, mean over seeds with their common shifts taken out, shape (n, T), in the
            order of the study's targets.
        standard_errors: of those means, shape (n, T): from the noise between seeds where it is known, else from the
            spread over evaluation windows; None where an imported run has neither.
        noise: the noise floor; None where no mixtures were trained with several seeds.
        epochs: how often the runs repeat data; None where nothing is known of it.
        runs: ids of each mixture's runs, length n.
        sampling_errors: of a run's loss, over items or windows, mean over runs, (T,); NaN where unknown.
    """

    mixtures: list[str]
    domains: list[str]
    weights: Array
    losses: Array
    standard_errors: Array | None
    noise: NoiseFloor | None
    epochs: EpochRates | None
    runs: list[list[str]]
    sampling_errors: Array

    def without(self, rows: Collection[int]) -> LossTable:
        """The same table without some of its rows."""
        kept = [row for row in range(len(self.mixtures)) if row not in rows]
        return replace(
            self,
            mixtures=[self.mixtures[row] for row in kept],
            weights=self.weights[kept],
            losses=self.losses[kept],
            standard_errors=None if self.standard_errors is None else self.standard_errors[kept],
            epochs=None if self.epochs is None else replace(self.epochs, rows=self.epochs.rows[kept]),
            runs=[self.runs[row] for row in kept],
        )


def loss_table(workspace: Workspace) -> LossTable:
    """The current proxies' final losses, joined to their mixtures by id.

    Raises:
        RegressionError: a mixture lacks a loss.
    """
    elsewhere = {run.mixture.id: run.mixture for run in imported_runs(workspace)}
    before, former = earlier_evidence(workspace) if workspace.study.trains else ({}, [])
    mixtures = current_mixtures(workspace) | elsewhere | before
    domains = workspace.coordinates + former
    with workspace.tables("proxy_losses", "proxies", "earlier_runs") as connection:
        rows = connection.sql(
            "select mixture, coalesce(seed, $elsewhere) as seed, target, avg(loss) as loss, "
            "sqrt(sum(standard_error ** 2)) / count(standard_error) as standard_error, "
            "if(bool_or(extrapolated), max(standard_error), 0) as extrapolation_error "
            "from current_proxy_losses where final group by all",
            params={"elsewhere": ELSEWHERE},
        ).pl()
        ids = connection.execute(
            "select mixture, list(distinct proxy order by proxy) from current_proxy_losses where final group by mixture"
        ).fetchall()
        epochs = epoch_rates(connection, list(mixtures), domains, available_tokens(workspace))
    # Withdrawn mixtures stay current until their stage runs again.
    losses = {run: row for run, row in _by_run(rows, "loss", workspace.targets).items() if run[0] in mixtures}
    missing = [
        (mixture, workspace.targets[int(np.isnan(row).argmax())])
        for (mixture, _), row in losses.items()
        if np.isnan(row).any()
    ] + [(mixture, workspace.targets[0]) for mixture in set(mixtures) - {mixture for mixture, _ in losses}]
    if missing:
        raise RegressionError(
            f"losses of {len(missing)} proxies are missing, first {missing[0][0]} on {missing[0][1]}",
            where="proxy_losses",
            remedy="materialise proxy_losses: failed proxies are trained again",
        )
    means, seeds = mixture_means(losses)
    floor = noise_floor({run: row for run, row in losses.items() if run[1] != ELSEWHERE})
    return LossTable(
        list(mixtures),
        domains,
        np.array([mixture.vector(domains) for mixture in mixtures.values()]),
        np.array([means[mixture] for mixture in mixtures]),
        _standard_errors(list(mixtures), rows, workspace.targets, seeds, floor),
        floor,
        # A law of repetition adds what is seen of a domain in one weight, and here several weights draw on it.
        None if phase_parts(workspace.study) else epochs,
        [dict(ids).get(mixture, []) for mixture in mixtures],
        np.mean(list(_by_run(rows, "standard_error", workspace.targets).values()), axis=0),
    )


def _standard_errors(
    mixtures: Sequence[str],
    rows: pl.DataFrame,
    targets: Sequence[str],
    seeds: Mapping[str, int],
    floor: NoiseFloor | None,
) -> Array | None:
    """Of each mixture's mean loss, (n, T).

    All proxies are measured on the same windows, so the spread over windows is mostly common to them and blurs no rank;
    the noise between seeds is what does. Where it is known it is used alone, but for losses that were extrapolated of
    proxies stopped early: these carry that error as well.
    """
    if floor is not None:
        known = floor.noise / np.sqrt([[seeds[mixture]] for mixture in mixtures])
        by_mixture: dict[str, Array] = {}
        for (mixture, _), row in _by_run(rows, "extrapolation_error", targets).items():
            by_mixture[mixture] = np.fmax(row, by_mixture.get(mixture, row))
        return np.hypot(known, np.nan_to_num(np.array([by_mixture[mixture] for mixture in mixtures])))
    found: dict[str, list[Array]] = defaultdict(list)
    for (mixture, _), row in _by_run(rows, "standard_error", targets).items():
        found[mixture].append(row)
    errors = np.array([np.sqrt(np.square(found[mixture]).sum(axis=0)) / len(found[mixture]) for mixture in mixtures])
    return None if np.isnan(errors).any() else errors


def _by_run(rows: pl.DataFrame, value: str, targets: Sequence[str]) -> dict[tuple[str, int], Array]:
    """(mixture, seed) -> a column of long rows (mixture, seed, target, value) as (T,), NaN where absent."""
    import polars as pl

    wide = rows.pivot(on="target", on_columns=list(targets), index=["mixture", "seed"], values=value).sort(
        "mixture", "seed"
    )
    values = wide.select(pl.col(target).cast(pl.Float64).fill_null(float("nan")) for target in targets).to_numpy()
    return {(mixture, seed): row for mixture, seed, row in zip(wide["mixture"], wide["seed"], values, strict=True)}


def available_tokens(workspace: Workspace) -> dict[str, int | None]:
    """Domain -> tokens that a run over all of it could draw, from the inventory; None where nobody knows. Empty unless
    imported runs state their tokens: only their epochs follow from it, proxies' own are recorded with them."""
    if not any(pair.tokens or pair.columns.tokens for pair in workspace.study.imports):
        return {}
    return {
        row["source"]: row["available_tokens"]
        for row in workspace.json("domain_inventory")["sources"]
        if row["role"] == "domain"
    }


def epoch_rates(
    connection: duckdb.DuckDBPyConnection,
    mixtures: Sequence[str],
    domains: Sequence[str],
    available: Mapping[str, int | None],
) -> EpochRates | None:
    """Epochs at weight 1 of every mixture's runs, own and imported alike; None where no run says what it repeats.

    A proxy's own are as it was trained: epochs / weight, whatever it was allowed to see. An imported run's are its
    tokens over the domain's available tokens, 0 (nothing repeated) where its table does not state its tokens. Where
    several runs share a mixture, and so a row of mean losses, the row has their mean.
    """
    column = {name: number for number, name in enumerate(domains)}
    tokens = np.array([float(available.get(name) or np.inf) for name in domains])
    found: dict[str, list[Array]] = defaultdict(list)
    drawn = connection.execute(
        # A proxy that was stopped early counts as if it had gone on: that is the loss extrapolated for it.
        "with runs as (select *, sum(executed_tokens) over (partition by proxy) as trained_on from current_proxies) "
        "select mixture, proxy, domain, epochs / executed_weight * max(trained_on) over () / trained_on from runs "
        "where executed_weight > 0"
    ).fetchall()
    own = _rates_by_run(drawn, column)
    earlier = connection.execute(
        "select mixture, proxy, domain, epochs_per_weight from current_earlier_runs "
        "where kept and weight_then > 0 and epochs_per_weight is not null"
    ).fetchall()
    for (mixture, _), rates in (*own.items(), *_rates_by_run(earlier, column).items()):
        found[mixture].append(rates)
    longest = 0
    for mixture, trained_on in connection.execute(
        # Imported runs may state a seed; what they never state beside a final loss is a step.
        "select mixture, max(tokens) from current_proxy_losses where final and step is null "
        "and proxy not in (select proxy from current_proxies) group by mixture, proxy"
    ).fetchall():
        longest = max(longest, trained_on or 0)
        found[mixture].append((trained_on or 0) / tokens)
    everywhere = np.array(list(own.values())) if own else (longest / tokens)[None]
    seen = ~np.isnan(everywhere)
    proxies = np.where(seen, everywhere, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    if not own and not longest:
        return None
    # A run says nothing of the domains it did not draw, and has no epochs of them whatever their rate.
    rows = [
        np.mean([np.where(np.isnan(one), proxies, one) for one in found[mixture] or [proxies]], axis=0)
        for mixture in mixtures
    ]
    return EpochRates(np.array(rows), proxies)


def _rates_by_run(
    rows: Sequence[tuple[str, str, str, float]], column: Mapping[str, int]
) -> dict[tuple[str, str], Array]:
    """Rows (mixture, proxy, domain, rate) -> (mixture, proxy) -> rates, (d,), NaN where a run drew nothing."""
    found: dict[tuple[str, str], Array] = {}
    for mixture, proxy, domain, rate in rows:
        if domain in column:
            found.setdefault((mixture, proxy), np.full(len(column), np.nan))[column[domain]] = rate
    return found


def loss_curves(workspace: Workspace, table: LossTable) -> list[Curves]:
    """Losses along the way of the study's own proxies, mean over seeds, one set of curves a target.

    Only proxies measured at the same steps can be compared: where settings changed in between, the largest group.
    """
    from regmix_pipeline.regression.steps import Curves

    row_of = {mixture: row for row, mixture in enumerate(table.mixtures)}
    curves: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    ends: dict[tuple[str, str], tuple[int, float]] = {}
    with workspace.tables("proxy_losses") as connection:
        for mixture, target, step, final, loss in connection.execute(
            # A final loss that was itself extrapolated, of a proxy stopped early, says nothing of a law.
            "select mixture, target, step, final, avg(loss) from current_proxy_losses where step is not null "
            "and not coalesce(extrapolated, false) group by mixture, target, step, final order by step"
        ).fetchall():
            if final:
                ends[target, mixture] = step, loss
            else:
                curves[target, mixture][step] = loss
    found = []
    for target in workspace.targets:
        groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for mixture in table.mixtures:
            if (target, mixture) in ends and curves[target, mixture]:
                groups[*curves[target, mixture], ends[target, mixture][0]].append(mixture)
        if not groups:
            continue
        (*steps, last), members = max(groups.items(), key=lambda item: len(item[1]))
        found.append(
            Curves(
                target=target,
                own=workspace.coordinates.index(target) if target in workspace.coordinates else None,
                weights=table.weights[[row_of[mixture] for mixture in members]],
                steps=np.array(steps, dtype=float),
                losses=np.array([list(curves[target, mixture].values()) for mixture in members]),
                final=np.array([ends[target, mixture][1] for mixture in members]),
                final_step=float(last),
            )
        )
    return found
