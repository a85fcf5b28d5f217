"""The decision and its confirmation as tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.build import read_ledger

ORDER = ("chosen", "natural", "uniform")


def show_decision(lab: Lab, console: Console) -> None:
    """Print the current decision, and what larger models say of it, if there are any."""
    record = lab.json("mixture_decision", "decision.json")
    weights = Table(title=f"{record['decision']}: {record['summary']}", title_justify="left")
    for heading in ("domain", "natural", "chosen", "cap", "epochs"):
        weights.add_column(heading, justify="left" if heading == "domain" else "right")
    for row in sorted(record["domains"], key=lambda row: -row["weight"]):
        epochs = "" if row["epochs"] is None else f"{row['epochs']:.2f}"
        mark = " (at cap)" if row["at_cap"] else ""
        weights.add_row(row["domain"], f"{row['prior']:.1%}", f"{row['weight']:.1%}", f"{row['cap']:.1%}{mark}", epochs)
    console.print(weights)
    for flag in record["flags"]:
        console.print(f"flag: {flag}", style="yellow", markup=False)
    _show_confirmation(lab, console)
    if (lab.records.current("mixture_report")) is not None:
        console.print(f"report: {lab.artefact('mixture_report')}", markup=False, highlight=False, soft_wrap=True)


def _show_confirmation(lab: Lab, console: Console) -> None:
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute(
            "select target, name, avg(loss), stddev_samp(loss) / sqrt(count(*)), any_value(predicted), count(*) "
            "from current_confirmations group by target, name"
        ).fetchall()
    if not rows:
        return
    found = {(target, name): (loss, error, predicted) for target, name, loss, error, predicted, _ in rows}
    seeds = rows[0][5]
    spread = f" ± standard error over {seeds} seeds" if seeds > 1 else ""
    table = Table(title=f"Larger models: loss in nats per token{spread} (predicted for a proxy)", title_justify="left")
    table.add_column("target")
    for name in ORDER:
        table.add_column(name, justify="right")
    table.add_column("best", justify="right")
    for target in ["objective", *lab.targets]:
        losses = {name: found[(target, name)][0] for name in ORDER if (target, name) in found}
        cells = [_cell(*found[(target, name)]) for name in losses]
        table.add_row(target, *cells, min(losses, key=lambda name: losses[name]), end_section=target == "objective")
    console.print(table)
    if seeds == 1:
        console.print("one seed each: nothing is known of the spread between seeds", style="yellow")


def _cell(loss: float, error: float | None, predicted: float | None) -> str:
    """``5.637 ± .002 (6.237)``."""
    spread = f" ± {error:.3f}" if error is not None else ""
    return f"{loss:.3f}{spread}" + (f" ({predicted:.3f})" if predicted is not None else "")
