"""What one look at an asset shows: small tables and pictures of what the ledger holds now, for the Dagster UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from regmix_pipeline.numbers import amount, decimals, integer, interval, percent, signed, times
from regmix_pipeline.report.data import OBJECTIVE
from regmix_pipeline.report.inline import Spread

Row = dict[str, str]
"""Column -> cell, as it is to be read."""


def inventory(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """A row per source: what there is to draw from, the largest domain first."""
    rows = connection.execute(
        "select source, role, train_documents + validation_documents, train_tokens, validation_tokens, prior, cap, "
        "bytes_per_token from current_domain_inventory order by role, prior desc nulls last, source"
    ).fetchall()
    return [
        {
            "source": source,
            "training tokens": amount(train),
            "natural weight": percent(prior),
            "cap": percent(cap),
            "bytes per token": decimals(bytes_per_token, 2),
            "documents": integer(documents),
            "validation tokens": amount(validation),
            "role": role,
        }
        for source, role, documents, train, validation, prior, cap, bytes_per_token in rows
    ]


_COVERAGE = """
select domain, any_value(i.prior), min(m.weight), quantile_cont(m.weight, 0.1), median(m.weight),
    quantile_cont(m.weight, 0.9), max(m.weight), count(*) filter (m.weight > 0), count(*)
from current_mixtures m left join current_domain_inventory i on i.source = m.domain
where m.origin <> 'earlier' group by domain order by any_value(i.prior) desc nulls last, domain
"""


def coverage(connection: duckdb.DuckDBPyConnection) -> tuple[list[Row], list[Spread]]:
    """How the mixtures cover each domain's weight: a table, and the same as spreads, the middle 80% thick."""
    rows = connection.execute(_COVERAGE).fetchall()
    table = [
        {
            "domain": domain,
            "natural": percent(prior),
            "least": percent(least),
            "median": percent(median),
            "most": percent(most),
            "mixtures with it": f"{drawn} of {total}",
        }
        for domain, prior, least, _, median, _, most, drawn, total in rows
    ]
    spreads = [Spread(domain, least, low, high, most, prior) for domain, prior, least, low, _, high, most, _, _ in rows]
    return table, spreads


_LOSSES = """
with finals as (
    select l.target, l.mixture, avg(l.loss) as loss from current_proxy_losses l
    where l.final and isfinite(l.loss) group by all
), anchor as (select distinct mixture from current_mixtures where origin = 'natural')
select target, min(loss), quantile_cont(loss, 0.1), median(loss), quantile_cont(loss, 0.9), max(loss),
    max(loss) filter (mixture in (select mixture from anchor)), count(*)
from finals group by target order by target
"""


def losses(connection: duckdb.DuckDBPyConnection, order: Sequence[str]) -> tuple[list[Row], list[Spread]]:
    """How the proxies' final losses are spread on each target, in nats per token; targets in ``order``."""
    rows = connection.execute(_LOSSES).fetchall()
    rows.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    table = [
        {
            "target": target,
            "mixtures": integer(count),
            "least": decimals(least),
            "10%": decimals(low),
            "median": decimals(median),
            "90%": decimals(high),
            "most": decimals(most),
            "natural": decimals(natural),
        }
        for target, least, low, median, high, most, natural, count in rows
    ]
    return table, [
        Spread(target, least, low, high, most, natural) for target, least, low, _, high, most, natural, _ in rows
    ]


def scores(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """A row per target: the regressor chosen and its scores on random folds."""
    rows = connection.execute(
        "select target, regressor, max(value) filter (metric = 'spearman'), max(low) filter (metric = 'spearman'), "
        "max(high) filter (metric = 'spearman'), max(value) filter (metric = 'rmse'), "
        "max(value) filter (metric = 'coverage') from current_regressor_scores "
        "where chosen and split = 'random' group by all order by target"
    ).fetchall()
    return [
        {
            "target": target,
            "Spearman": decimals(rank),
            "RMSE (nats/token)": decimals(error),
            "regressor": regressor,
            "Spearman's interval": interval(low, high),
            "intervals hold": percent(held),
        }
        for target, regressor, rank, low, high, error, held in rows
    ]


def weights(domains: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row per domain of a search result or a decision record, the heaviest first."""
    return [
        {
            "domain": row["domain"],
            "chosen": percent(row["weight"]),
            "natural": percent(row.get("prior")),
            "change": times(row["weight"] / row["prior"] if row.get("prior") else None),
            "as good from": percent(row.get("low")),
            "to": percent(row.get("high")),
            "cap": percent(row.get("cap")) + (" (reached)" if row.get("at_cap") else ""),
            "epochs": decimals(row.get("epochs"), 2),
        }
        for row in sorted(domains, key=lambda row: (-row["weight"], row["domain"]))
    ]


def predicted(
    predictions: Sequence[Mapping[str, Any]], objective: Mapping[str, float]
) -> tuple[list[Row], dict[str, float]]:
    """Each target's predicted loss on chosen and natural, and target -> chosen minus natural, nats per token.

    An objective of one target is listed once, under the target's name.
    """
    found = {(row["name"], row["target"]): row for row in predictions}
    table, gaps = [], {}
    for target in dict.fromkeys(row["target"] for row in predictions):
        chosen, natural = found.get(("chosen", target)), found.get(("natural", target))
        if chosen is None or natural is None or (target == OBJECTIVE and len(objective) == 1):
            continue
        gaps[target] = chosen["predicted"] - natural["predicted"]
        table.append(
            {
                "target": target,
                "chosen": decimals(chosen["predicted"]),
                "90% interval": interval(chosen["low"], chosen["high"]),
                "natural": decimals(natural["predicted"]),
                "chosen - natural": signed(gaps[target]),
            }
        )
    return table, gaps


def alternatives(predictions: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row per named mixture: what is predicted for the objective."""
    rows = [row for row in predictions if row["target"] == OBJECTIVE]
    chosen = next((row["predicted"] for row in rows if row["name"] == "chosen"), None)
    return [
        {
            "mixture": row["name"],
            "predicted (nats/token)": decimals(row["predicted"]),
            "90% interval": interval(row["low"], row["high"]),
            "by the law": decimals(row.get("predicted_by_law")),
            "worse than chosen": signed(
                None if chosen is None or row["name"] == "chosen" else row["predicted"] - chosen
            ),
        }
        for row in rows
    ]


def confirmed(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """A row per target: what larger models measured on chosen, natural and uniform, the objective first."""
    cells = {
        (target, name): (loss, error, seeds)
        for target, name, loss, error, seeds in connection.execute(
            "select target, name, avg(loss), stddev_samp(loss) / sqrt(count(*)), count(*) "
            "from current_confirmations group by all"
        ).fetchall()
    }
    names = [name for name in ("chosen", "natural", "uniform") if any(name == each for _, each in cells)]
    targets = sorted({target for target, _ in cells}, key=lambda target: (target != OBJECTIVE, target))
    rows = []
    for target in targets:
        measured = {name: cells[target, name] for name in names if (target, name) in cells}
        row = {"target": target} | {name: _mean(*found[:2]) for name, found in measured.items()}
        gap = measured["natural"][0] - measured["chosen"][0] if {"natural", "chosen"} <= set(measured) else None
        rows.append(
            row | {"natural - chosen": signed(gap), "seeds": integer(min(each[2] for each in measured.values()))}
        )
    return rows


def _mean(loss: float, error: float | None) -> str:
    """A mean over seeds ± one standard error."""
    return decimals(loss) + (f" ± {decimals(error)}" if error is not None else "")
