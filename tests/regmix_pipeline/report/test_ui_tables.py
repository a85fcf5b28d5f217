"""Tables and pictures beside the assets say what the ledger says."""

from __future__ import annotations

from statistics import median
from typing import Any

import dagster as dg
import numpy as np
import pytest

from regmix_pipeline.assets.pictures import ROWS, table
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.report import ui_tables


@pytest.fixture(scope="module")
def ledger(study: Any) -> Any:
    with read_ledger(study.ledger) as connection:
        yield connection


def test_inventory(ledger: Any, study: Any) -> None:
    rows = {row["source"]: row for row in ui_tables.inventory(ledger)}
    assert len(rows) == 10
    for source in study.rows["domain_inventory"]:
        assert rows[source["source"]]["documents"] == f"{source['train_documents'] + source['validation_documents']:,}"
    assert (rows["encyclopedia"]["role"], rows["encyclopedia"]["natural weight"]) == ("target", "–")


def test_coverage(ledger: Any, study: Any) -> None:
    table, spreads = ui_tables.coverage(ledger)
    weights: dict[str, list[float]] = {}
    for row in study.rows["mixtures"]:
        weights.setdefault(row["domain"], []).append(row["weight"])
    assert {spread.name for spread in spreads} == set(weights)
    for row, spread in zip(table, spreads, strict=True):
        known = weights[spread.name]
        assert (spread.low, spread.high) == (min(known), max(known))
        assert spread.middle_low == pytest.approx(np.quantile(known, 0.1))
        assert row["mixtures with it"] == f"{sum(weight > 0 for weight in known)} of {len(known)}"


def test_losses(ledger: Any, study: Any) -> None:
    table, spreads = ui_tables.losses(ledger, ["legal", "books"])
    assert [row["target"] for row in table[:2]] == ["legal", "books"]
    finals = [r for r in study.rows["proxy_losses"] if r["final"] and r["target"] == "legal"]
    assert table[0]["median"] == f"{median(row['loss'] for row in finals):.3f}"
    natural = next(row["mixture"] for row in study.rows["mixtures"] if row["origin"] == "natural")
    assert spreads[0].mark == next(row["loss"] for row in finals if row["mixture"] == natural)


def test_scores_are_of_the_chosen_regressor(ledger: Any, study: Any) -> None:
    rows = {row["target"]: row for row in ui_tables.scores(ledger)}
    score = next(
        row
        for row in study.rows["regressor_scores"]
        if (row["target"], row["split"], row["metric"], row["chosen"]) == ("music", "random", "rmse", True)
    )
    assert rows["music"]["RMSE (nats/token)"] == f"{score['value']:.3f}"
    assert rows["music"]["regressor"] == score["regressor"]


def test_predictions_against_natural(study: Any) -> None:
    found = {(row["name"], row["target"]): row["predicted"] for row in study.decision["predictions"]}
    rows, gaps = ui_tables.predicted(study.decision["predictions"], study.decision["objective"])
    assert "objective" not in gaps  # it is one target, listed under that target's name
    assert gaps["legal"] == found["chosen", "legal"] - found["natural", "legal"]
    assert len(rows) == len(gaps) == 10


def test_alternatives_are_compared_with_the_chosen_mixture(study: Any) -> None:
    rows = ui_tables.alternatives(study.decision["predictions"])
    assert [row["mixture"] for row in rows] == ["chosen", "natural", "uniform", "best_observed"]
    assert rows[0]["worse than chosen"] == "–"
    assert rows[1]["worse than chosen"] == f"{study.decision['gain']['predicted']:+.3f}"


def test_confirmation(ledger: Any, study: Any) -> None:
    rows = ui_tables.confirmed(ledger)
    assert rows[0]["target"] == "objective"
    legal = next(row for row in rows if row["target"] == "legal")
    losses = [row["loss"] for row in study.rows["confirmations"] if (row["name"], row["target"]) == ("chosen", "legal")]
    assert legal["chosen"] == f"{np.mean(losses):.3f} ± {np.std(losses, ddof=1) / np.sqrt(2):.3f}"
    assert legal["seeds"] == "2"


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = [{"domain": f"d{i}", **({"late": "x"} if i == 3 else {})} for i in range(40)]
    ((title, value),) = table("weights", rows).items()
    assert title == f"weights, {ROWS} of 40"
    assert isinstance(value, dg.TableMetadataValue)
    assert len(value.records) == ROWS
    assert value.records[3].data == {"domain": "d3", "late": "x"}
    assert table("weights", []) == {}
