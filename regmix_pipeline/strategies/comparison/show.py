"""A comparison as tables: in a terminal, in the Dagster UI, in a page of documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from regmix_pipeline.numbers import decimals, percent, signed
from regmix_pipeline.tables import show_table

Row = dict[str, str]


def ranking_rows(result: Mapping[str, Any]) -> list[Row]:
    """A row a strategy, the best first."""
    percents = f"{result['level']:.0%}"
    return [
        {
            "strategy": row["strategy"] + ("" if row["within_limits"] else " (beyond the limits)"),
            f"objective, {percents}": _with(row["objective"], row["half_interval"], decimals),
            f"to natural, {percents}": "0"
            if row["strategy"] == "natural"
            else _with(row["difference"], row["difference_half_interval"], signed),
            "better seeds": f"{row['better_seeds']} of {row['seeds']}",
            "proxies' compute": "none"
            if not row["flops"]
            else f"{row['share_of_target']:.2f} target runs" + _used(row["share_of_budget"]),
            "beside the run": percent(row["further_share_of_target"]) if row["further_share_of_target"] else "none",
        }
        for row in result["ranking"]
    ]


def correlation_rows(result: Mapping[str, Any]) -> list[Row]:
    """A row for each smaller size and the regressor: how well it ranks the candidates as the target does."""
    if result["candidates"] is None:
        return []
    return [
        {
            "ranked by": name.replace("_", " "),
            "rank correlation with the target": decimals(row["spearman"], 2),
            "90% interval": f"{decimals(row['low'], 2)} to {decimals(row['high'], 2)}",
            "its best is": f"{row['rank_of_its_best']} of {result['candidates']['mixtures']}",
            "worse than the best by": decimals(row["gap_of_its_best"], 4),
        }
        for name, row in result["candidates"]["rank_correlations"].items()
    ]


def show_comparison(result: Mapping[str, Any], console: Console) -> None:
    """Print the ranking and the candidates' test."""
    seeds, budget = result["seeds"], result["budget_proxies"]
    _show(
        f"Target runs of {seeds} seed{'s' if seeds > 1 else ''}, nats per token; each strategy might spend {budget} "
        "proxies",
        ranking_rows(result),
        console,
    )
    rows = correlation_rows(result)
    if rows:
        _show(f"{result['candidates']['mixtures']} mixtures trained at every size", rows, console)
        places = result["candidates"]["places"]
        said = ", ".join(f"{name} {place}" for name, place in sorted(places.items(), key=lambda item: item[1]))
        console.print(f"places on the target: {said}", markup=False, highlight=False, soft_wrap=True)
    if seeds == 1:
        console.print("one seed each: the spread between seeds is unknown", style="yellow")


def _show(title: str, rows: Sequence[Row], console: Console) -> None:
    show_table(console, list(rows[0]), [list(row.values()) for row in rows], title=title)


def _with(value: float, half: float | None, written: Callable[[Any, int], str]) -> str:
    """A value and its interval."""
    if half is None:
        return written(value, 4)
    return f"{written(value, 4)} ({written(value - half, 4)} to {written(value + half, 4)})"


def _used(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%} of the budget)"
