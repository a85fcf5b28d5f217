"""An explanation in a terminal: the answer, the curve, the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from regmix_pipeline.decisions.explain.explanation import percent

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 5
ROWS = 7
"""Points of the curve listed beside the chosen one; all are in the JSON."""


def show_explanation(found: Mapping[str, Any], console: Console) -> None:
    """Print an explanation, the answer first."""
    console.print(found["answer"], style="bold", markup=False, highlight=False)
    console.print(_facts(found), markup=False, highlight=False, style="dim")
    _show_chart(found, console)
    console.print(_curve(found))
    console.print(_effects(found))
    _show_limits(found, console)
    console.print(_alternatives(found))


def _facts(found: Mapping[str, Any]) -> str:
    cap = f"cap {percent(found['cap'])}" + (f" ({found['cap_from']})" if found["cap_from"] != "none" else "")
    parts = [
        f"decision {found['decision']} of {found['decided_at'][:10]}",
        f"chosen {percent(found['weight'])}",
        f"natural {percent(found['prior'])}",
        cap,
        f"floor {percent(found['floor'])}",
    ]
    if found["epochs"] is not None:
        parts.append(f"{found['epochs']:.2f} epochs")
    parts.append(f"within one standard error: {percent(found['low'])} to {percent(found['high'])}")
    parts.append(
        f"{found['with_weight']} of {found['mixtures']} trained mixtures hold some, at most "
        f"{percent(found['highest_sampled'])}"
    )
    return " · ".join(parts)


def chart(values: Sequence[float], height: int = HEIGHT) -> list[str]:
    """Lines of a bar chart of ``values``, the highest line first; the lowest value is one eighth of a line high."""
    low, high = min(values), max(values)
    scale = (8 * height - 1) / (high - low) if high > low else 0.0
    eighths = [1 + round((value - low) * scale) for value in values]
    return ["".join(BLOCKS[min(max(each - 8 * line, 0), 8)] for each in eighths) for line in reversed(range(height))]


def _show_chart(found: Mapping[str, Any], console: Console) -> None:
    curve, at = found["curve"], found["chosen_point"]
    if len(curve) < 2:
        return
    lines = chart([point["objective"]["predicted"] for point in curve])
    values = [point["objective"]["predicted"] for point in curve]
    labels = [f"{max(values):.3f} ", *[""] * (len(lines) - 2), f"{min(values):.3f} "]
    width = max(map(len, labels))
    for label, line in zip(labels, lines, strict=True):
        console.print(label.rjust(width) + line, highlight=False, markup=False)
    natural = min(range(len(curve)), key=lambda i: abs(curve[i]["weight"] - found["prior"]))
    marks = [" " if point["sampled"] else "·" for point in curve]
    marks[natural], marks[at] = "n", "▲"
    console.print(" " * width + "".join(marks), highlight=False, markup=False, style="bold")
    ends = f"{percent(curve[0]['weight'])}{percent(curve[-1]['weight']).rjust(len(curve) - 3)}"
    console.print(" " * width + ends, highlight=False, markup=False)
    beyond = ", · beyond what was sampled" if any(not point["sampled"] for point in curve) else ""
    legend = f"predicted objective by weight, the others in proportion; ▲ chosen, n natural{beyond}"
    console.print(legend, highlight=False, markup=False, style="dim")


def _curve(found: Mapping[str, Any]) -> Table:
    curve, at = found["curve"], found["chosen_point"]
    table = Table(
        title=f"More or less of it, a proxy's loss in nats per token; as good: within {found['standard_error']:.3f}",
        title_justify="left",
    )
    counted = [target for target, share in found["objective"].items() if share and len(found["objective"]) > 1]
    for heading in ("weight", "objective", "90% interval", "change", *counted, ""):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    step = max((len(curve) - 1) / (ROWS - 1), 1)
    shown = sorted({round(i * step) for i in range(ROWS) if round(i * step) < len(curve)} | {at})
    for i in shown:
        point = curve[i]
        total = point["objective"]
        table.add_row(
            percent(point["weight"]),
            f"{total['predicted']:.3f}",
            f"{total['low']:.3f}-{total['high']:.3f}",
            "chosen" if i == at else f"{point['difference']:+.4f}",
            *(f"{point['targets'][target]['predicted']:.3f}" for target in counted),
            _trust(point),
            style="bold" if i == at else None,
        )
    return table


def _trust(point: Mapping[str, Any]) -> str:
    words = ["as good"] if point["within_one_standard_error"] else []
    words += [] if point["sampled"] else ["beyond the samples"]
    words += [] if point["allowed"] else ["not allowed"]
    return ", ".join(words)


def _effects(found: Mapping[str, Any]) -> Table:
    table = Table(title="One point more of it: nats per token, regressors that agree", title_justify="left")
    for heading in ("target", "share", "more of it", "change", "by law", "agree"):
        table.add_column(heading, justify="left" if heading in ("target", "more of it") else "right", no_wrap=True)
    colours = {"helps": "green", "hurts": "red", "flat": "dim", "undecided": "yellow"}
    for row in sorted(found["effects"], key=lambda row: (-row["share"], row["sensitivity"])):
        table.add_row(
            row["target"],
            f"{row['share']:.0%}" if row["share"] else "",
            f"[{colours[row['verdict']]}]{row['verdict']}[/]",
            f"{row['sensitivity']:+.4f}",
            "" if row["by_law"] is None else f"{row['by_law']:+.4f}",
            f"{row['agree'][0]} of {row['agree'][1]}",
            end_section=row["target"] == "objective",
        )
    return table


def _show_limits(found: Mapping[str, Any], console: Console) -> None:
    if not found["limits"]:
        console.print("No limit holds this weight.", highlight=False)
        return
    table = Table(title=f"Limits that hold it ({found['limits_how']})", title_justify="left")
    for heading in ("limit", "relaxed by", "worth, nats per token", "this weight would move"):
        table.add_column(heading, justify="left" if heading == "limit" else "right")
    for row in found["limits"]:
        table.add_row(row["limit"], row["step"], f"{row['worth']:.5f}", f"{row['weight_change'] * 100:+.2f} points")
    console.print(table)


def _alternatives(found: Mapping[str, Any]) -> Table:
    table = Table(title="What else was considered", title_justify="left")
    for heading in ("mixture", "weight", "objective", "90% interval", ""):
        table.add_column(heading, justify="left" if heading in ("mixture", "") else "right")
    for row in found["alternatives"]:
        known = row["predicted"] is not None
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else ""
        predicted = f"{row['predicted']:.3f}" if known else "unknown"
        style = "bold" if row["name"] == "chosen" else None
        note = "" if row["allowed"] else "beyond the limits"
        table.add_row(row["name"], percent(row["weight"]), predicted, interval, note, style=style)
    return table
