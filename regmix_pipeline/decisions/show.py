"""The decision and its confirmation as tables in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from regmix_pipeline.decisions.caveats import open_weights, price_of
from regmix_pipeline.decisions.guardrails import (
    families_in_words,
    guardrails_in_words,
    measured_guardrails,
    measured_in_words,
)
from regmix_pipeline.decisions.ngrams import ngrams_in_words
from regmix_pipeline.decisions.phases import phases_in_words
from regmix_pipeline.decisions.repetition import epochs_in_words, prices_in_words
from regmix_pipeline.decisions.rounds import rounds_in_words
from regmix_pipeline.decisions.sizes import sizes_in_words
from regmix_pipeline.engine.ledger import read_ledger
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.mixture import PARTS
from regmix_pipeline.study.coordinates import phase_of
from regmix_pipeline.study.phases_of_decision import chosen_together
from regmix_pipeline.tables import show_table

ORDER = ("chosen", "natural", "uniform")


def show_decision(workspace: Workspace, console: Console) -> None:
    """Print the current decision, and what larger models say of it, if there are any."""
    record = workspace.json("mixture_decision", "decision.json")
    rows, together = [], {name: part / PARTS for name, part in chosen_together(record).items()}
    ordered = sorted(record["domains"], key=lambda row: -row["weight"])
    if together:
        ordered.sort(key=lambda row: list(together).index(phase_of(row["domain"])))
    for row in ordered:
        epochs = "" if row["epochs"] is None else f"{row['epochs']:.2f}"
        mark = " (at cap)" if row["at_cap"] else ""
        own = [f"{row['weight'] / together[phase_of(row['domain'])]:.1%}"] if together else []
        cells = f"{row['prior']:.1%}", f"{row['weight']:.1%}", f"{row['cap']:.1%}{mark}", epochs
        rows.append((row["domain"], *own, *cells))
    console.print(f"{record['decision']}: {record['summary']}", style="bold", markup=False, highlight=False)
    heads = ("domain", *(["of its phase"] if together else []), "natural", "chosen", "cap", "epochs")
    show_table(console, heads, rows)
    for line in filter(None, (price_of(record), open_weights(record))):
        console.print(line, markup=False, highlight=False)
    for line in (*rounds_in_words(record["rounds"]), *ngrams_in_words(record["ngrams"])):
        console.print(line, markup=False, highlight=False)
    for line in (*phases_in_words(record), *epochs_in_words(record), *prices_in_words(record)):
        console.print(line, markup=False, highlight=False)
    for line in (*sizes_in_words(record), *families_in_words(record), *guardrails_in_words(record)):
        console.print(line, markup=False, highlight=False)
    for flag in record["flags"]:
        console.print(f"flag: {flag}", style="yellow", markup=False)
    _show_confirmation(workspace, record.get("guardrails") or [], console)
    if (workspace.records.current("mixture_report")) is not None:
        console.print(f"report: {workspace.artefact('mixture_report')}", markup=False, highlight=False, soft_wrap=True)


def _show_confirmation(workspace: Workspace, guardrails: list[dict[str, Any]], console: Console) -> None:
    with read_ledger(workspace.ledger) as connection:
        rows = connection.execute(
            "select target, name, avg(loss), stddev_samp(loss) / sqrt(count(*)), any_value(predicted), count(*) "
            "from current_confirmations group by target, name"
        ).fetchall()
        each = connection.execute("select name, seed, target, loss from current_confirmations").fetchall()
    if not rows:
        return
    found = {(target, name): (loss, error, predicted) for target, name, loss, error, predicted, _ in rows}
    seeds = rows[0][5]
    spread = f" ± one standard error over {seeds} seeds" if seeds > 1 else ""
    table = []
    for target in ["objective", *workspace.targets]:
        losses = {name: found[(target, name)][0] for name in ORDER if (target, name) in found}
        cells = [_cell(*found[(target, name)]) if name in losses else "" for name in ORDER]
        table.append((target, *cells, min(losses, key=lambda name: losses[name])))
    title = f"Larger models: loss in nats per token{spread} (in brackets: predicted for a proxy)"
    show_table(console, ("target", *ORDER, "best"), table, title=title, bold=[0])
    if seeds == 1:
        console.print("one seed each: the spread between seeds is unknown", style="yellow")
    for row in measured_guardrails(guardrails, each):
        style = None if row["kept"] else "yellow"
        line = f"larger models: guardrail of {row['target']} {measured_in_words(row)}"
        console.print(line, markup=False, highlight=False, style=style)


def _cell(loss: float, error: float | None, predicted: float | None) -> str:
    """``5.637 ± .002 (6.237)``."""
    spread = f" ± {error:.3f}" if error is not None else ""
    return f"{loss:.3f}{spread}" + (f" ({predicted:.3f})" if predicted is not None else "")
