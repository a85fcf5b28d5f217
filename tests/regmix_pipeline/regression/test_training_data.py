"""How often runs repeat data, own and imported, as the ledger says."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest

from regmix_pipeline.regression.training_data import epoch_rates

DOMAINS = ["books", "code"]
AVAILABLE = {"books": 1000, "code": 4000}


def ledger(proxies: list[tuple[Any, ...]], runs: list[tuple[Any, ...]] = ()) -> duckdb.DuckDBPyConnection:  # type: ignore[assignment]
    """Own proxies as (mixture, proxy, domain, executed_weight, epochs), imported runs as (mixture, proxy, tokens)."""
    connection = duckdb.connect()
    connection.execute(
        "create table current_proxies "
        "(mixture text, proxy text, domain text, executed_weight real, epochs real, executed_tokens bigint)"
    )
    connection.execute(
        "create table current_proxy_losses "
        "(mixture text, proxy text, tokens bigint, final boolean, seed bigint, step bigint)"
    )
    for row in proxies:
        tokens = {"p2 stopped": 500}.get(row[1], 1000) * row[3]
        connection.execute("insert into current_proxies values (?, ?, ?, ?, ?, ?)", [*row, int(tokens)])
    connection.execute(
        "create table current_earlier_runs (mixture text, proxy text, domain text, weight_then double, "
        "epochs_per_weight double, kept boolean)"
    )
    for mixture, proxy in {row[:2] for row in proxies}:
        connection.execute("insert into current_proxy_losses values (?, ?, 500, true, 42, 10)", [mixture, proxy])
    for mixture, proxy, tokens in runs:
        connection.execute(
            "insert into current_proxy_losses values (?, ?, ?, true, null, null)", [mixture, proxy, tokens]
        )
    return connection


OWN = [
    ("m1", "p1", "books", 0.5, 1.0),
    ("m1", "p1", "code", 0.5, 0.25),
    ("m2", "p2", "books", 1.0, 2.0),  # draws no code
]


def test_own_proxies_rates_are_as_trained() -> None:
    with ledger(OWN) as connection:
        found = epoch_rates(connection, ["m2", "m1"], DOMAINS, {})
    assert found is not None
    np.testing.assert_allclose(found.rows, [[2.0, 0.5], [2.0, 0.5]])
    np.testing.assert_allclose(found.proxies, [2.0, 0.5])


def test_a_proxy_that_was_stopped_counts_as_if_it_had_gone_on() -> None:
    stopped = [*OWN[:2], ("m2", "p2 stopped", "books", 1.0, 1.0)]
    with ledger(stopped) as connection:
        found = epoch_rates(connection, ["m1", "m2"], DOMAINS, {})
    assert found is not None
    np.testing.assert_allclose(found.rows, [[2.0, 0.5], [2.0, 0.5]])


def test_imported_runs_rates_are_their_tokens_over_what_is_available() -> None:
    with ledger([], [("m1", "i0_1", 3000), ("m2", "i1_1", 1000), ("m3", "i2_1", None)]) as connection:
        found = epoch_rates(connection, ["m1", "m2", "m3"], DOMAINS, AVAILABLE)
    assert found is not None
    np.testing.assert_allclose(found.rows, [[3.0, 0.75], [1.0, 0.25], [0.0, 0.0]])
    np.testing.assert_allclose(found.proxies, [3.0, 0.75])  # the longest


def test_earlier_runs_keep_the_rates_they_were_trained_at_former_domains_too() -> None:
    with ledger(OWN) as connection:
        connection.execute(
            "insert into current_earlier_runs values "
            "('m3', 'p3', 'books', 0.4, 6.0, true), ('m3', 'p3', 'gone', 0.6, 9.0, true), "
            "('m3', 'p3', 'code', 0.0, null, true), ('m1', 'p4', 'books', 1.0, 50.0, false)"
        )
        found = epoch_rates(connection, ["m1", "m3"], ("books", "code", "gone"), {})
    assert found is not None
    np.testing.assert_allclose(found.rows, [[2.0, 0.5, 0.0], [6.0, 0.5, 9.0]])
    np.testing.assert_allclose(found.proxies, [2.0, 0.5, 0.0])


def test_own_and_imported_rows_keep_their_own_rates() -> None:
    with ledger(OWN, [("m3", "i0_1", 8000), ("m1", "i0_2", 8000)]) as connection:
        found = epoch_rates(connection, ["m1", "m2", "m3"], DOMAINS, AVAILABLE)
    assert found is not None
    np.testing.assert_allclose(found.rows, [[5.0, 1.25], [2.0, 0.5], [8.0, 2.0]])  # m1: the mean of its two runs
    np.testing.assert_allclose(found.proxies, [2.0, 0.5])  # predictions are for the study's own


@pytest.mark.parametrize("tokens", [None, 500])
def test_nothing_known_is_nothing_said(tokens: int | None) -> None:
    with ledger([], [("m1", "i0_1", None)]) as connection:
        assert epoch_rates(connection, ["m1"], DOMAINS, AVAILABLE) is None
    with ledger([], [("m1", "i0_1", tokens)]) as connection:
        found = epoch_rates(connection, ["m1"], DOMAINS, {"books": None, "code": None})
    assert found is None or (found.rows == 0).all()
