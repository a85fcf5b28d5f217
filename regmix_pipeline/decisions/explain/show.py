"""An explanation in a terminal: the answer, the curve, the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from regmix_pipeline.decisions.explain.explanation import percent
from regmix_pipeline.tables import Cell, show_table

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 5
ROWS = 7
"""Points of the curve listed beside the chosen one; all are in the JSON."""


def show_explanation(found: Mapping[str, Any], console: Console) -> None:
    """Print an explanation, the answer first."""
    console.print(found["answer"], style="bold", markup=False, highlight=False)
    console.print(_facts(found), markup=False, highlight=False, style="dim")
    _show_chart(found, console)
    _show_curve(found, console)
    _show_effects(found, console)
    _show_limits(found, console)
    _show_guardrails(found, console)
    _show_alternatives(found, console)


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
        earlier = ", ".join(row["name"] for row in found.get("phases", []) if row["mixture"] is not None)
        before = f", {found['epochs_before']:.2f} of them in {earlier}" if earlier else ""
        parts.append(f"{found['epochs']:.2f} epochs{before}")
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


def _show_curve(found: Mapping[str, Any], console: Console) -> None:
    curve, at = found["curve"], found["chosen_point"]
    counted = [target for target, share in found["objective"].items() if share and len(found["objective"]) > 1]
    step = max((len(curve) - 1) / (ROWS - 1), 1)
    shown = sorted({round(i * step) for i in range(ROWS) if round(i * step) < len(curve)} | {at})
    rows = []
    for i in shown:
        point = curve[i]
        total = point["objective"]
        rows.append(
            (
                percent(point["weight"]),
                f"{total['predicted']:.3f}",
                f"{total['low']:.3f} to {total['high']:.3f}",
                "chosen" if i == at else f"{point['difference']:+.4f}",
                *(f"{point['targets'][target]['predicted']:.3f}" for target in counted),
                _trust(point),
            )
        )
    title = f"More or less of it, a proxy's loss in nats per token; as good: within {found['standard_error']:.3f}"
    headings = ("weight", "objective", "90% interval", "change", *counted, "")
    show_table(console, headings, rows, title=title, left=[""], bold=[shown.index(at)])


def _trust(point: Mapping[str, Any]) -> str:
    words = ["as good"] if point["within_one_standard_error"] else []
    words += [] if point["sampled"] else ["beyond the samples"]
    words += [] if point["allowed"] else ["not allowed"]
    return ", ".join(words)


def _show_effects(found: Mapping[str, Any], console: Console) -> None:
    colours = {"helps": "green", "hurts": "red", "flat": "dim", "undecided": "yellow"}
    rows: list[tuple[Cell, ...]] = [
        (
            row["target"],
            f"{row['share']:.0%}" if row["share"] else "",
            (row["verdict"], colours[row["verdict"]]),
            f"{row['sensitivity']:+.4f}",
            "" if row["by_law"] is None else f"{row['by_law']:+.4f}",
            f"{row['agree'][0]} of {row['agree'][1]}",
        )
        for row in sorted(found["effects"], key=lambda row: (-row["share"], row["sensitivity"]))
    ]
    headings = ("target", "share", "more of it", "change", "by law", "agree")
    title = "One point more of it: nats per token, regressors that agree"
    show_table(console, headings, rows, title=title, left=["more of it"])


def _show_limits(found: Mapping[str, Any], console: Console) -> None:
    if not found["limits"]:
        console.print("No limit holds this weight.", highlight=False)
        return
    rows = [
        (row["limit"], row["step"], f"{row['worth']:.5f}", f"{row['weight_change'] * 100:+.2f} points")
        for row in found["limits"]
    ]
    headings = ("limit", "relaxed by", "worth, nats per token", "this weight would move")
    show_table(console, headings, rows, title=f"Limits that hold it ({found['limits_how']})")


def _show_guardrails(found: Mapping[str, Any], console: Console) -> None:
    if not found["guardrails"]:
        return
    rows: list[tuple[Cell, ...]] = [
        (
            row["target"],
            f"{row['worse_by']:+.4f}",
            f"{row['difference']:+.4f}",
            f"{row['slack']:.4f}",
            ("active", "yellow") if row["active"] else "",
        )
        for row in found["guardrails"]
    ]
    headings = ("target", "at most", "predicted", "slack", "")
    title = "Guardrails: predicted loss of the chosen mixture against natural, nats per token"
    show_table(console, headings, rows, title=title, left=[""])


def _show_alternatives(found: Mapping[str, Any], console: Console) -> None:
    rows = []
    for row in found["alternatives"]:
        known = row["predicted"] is not None
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else ""
        predicted = f"{row['predicted']:.3f}" if known else "unknown"
        rows.append(
            (row["name"], percent(row["weight"]), predicted, interval, "" if row["allowed"] else "beyond the limits")
        )
    chosen = [number for number, row in enumerate(found["alternatives"]) if row["name"] == "chosen"]
    headings = ("mixture", "weight", "objective", "90% interval", "")
    show_table(console, headings, rows, title="What else was considered", left=[""], bold=chosen)
