"""The plots of the confirmation: what larger models did, beside what proxies predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regmix_pipeline.numbers import decimals
from regmix_pipeline.report.confirmation_summary import TargetResult
from regmix_pipeline.report.data import Measured
from regmix_pipeline.report.plots import AXIS_HEIGHT, CHOSEN, NATURAL, ROLES, Plot, figure, marks, rows_axis, wrapped


def measured(result: TargetResult, label: str) -> Plot:
    """Losses of larger models on one target: mean over seeds, its standard error, and every seed as a small mark."""
    traces = []
    for name, cell in result.cells.items():
        role = ROLES[name][0]
        bars = {"type": "data", "thickness": 1.6, "width": 0, "color": ROLES[name][1], "array": [cell.error or 0.0]}
        text = f"{role}: {decimals(cell.mean)}, {len(cell.measured)} seeds"
        seeds = [f"{role}, one seed: {decimals(loss)}" for loss in cell.measured]
        traces.append(marks([cell.mean], [role], name, [text], error_x=bars))
        traces.append(marks(cell.measured, [role] * len(seeds), name, seeds, 5))
    return figure(
        traces,
        AXIS_HEIGHT + 22 * len(result.cells),
        f"measured loss on {label} of larger models",
        xaxis={"nticks": 4},
        yaxis=rows_axis([ROLES[name][0] for name in result.cells]),
    )


def differences(rows: Sequence[Measured], labels: Mapping[str, str]) -> Plot:
    """Loss relative to the natural mixture, a row per target: hollow as predicted for proxies, filled as measured.

    Small dots are single seeds, compared with the natural model of the same seed.
    """
    natural = {(row.target, row.seed): row for row in rows if row.name == "natural"}
    order = [wrapped(label, 16) for label in labels.values()]
    place = {target: i for i, target in enumerate(labels)}
    traces = []
    for name, shift in (("uniform", 0.16), ("chosen", -0.16)):
        paired = [(row, natural[row.target, row.seed]) for row in rows if row.name == name]
        paired = [(row, base) for row, base in paired if row.target in place]
        seeds = [(place[row.target] + shift, row.loss - base.loss, row.seed) for row, base in paired]
        text = [f"{name}, seed {seed}: {decimals(gap)}" for _, gap, seed in seeds]
        dots = marks([gap for _, gap, _ in seeds], [y for y, *_ in seeds], name, text, 5)
        means: dict[float, list[float]] = {}
        for y, gap, _ in seeds:
            means.setdefault(y, []).append(gap)
        mean = [sum(gaps) / len(gaps) for gaps in means.values()]
        bars = marks(mean, list(means), name, [f"{name}, measured {decimals(value)}" for value in mean], 11)
        guesses = {
            place[row.target] + shift: row.predicted - base.predicted
            for row, base in paired
            if row.predicted is not None and base.predicted is not None
        }
        text = [f"{name}, predicted {decimals(value)}" for value in guesses.values()]
        hollow = marks(list(guesses.values()), list(guesses), name, text, 11)
        hollow.marker.symbol = f"{ROLES[name][2]}-open"
        hollow.marker.line.width = 2
        hollow.marker.color = NATURAL if name == "uniform" else CHOSEN
        traces += [hollow, dots, bars]
    zero = {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": NATURAL, "width": 1.5},
    }
    return figure(
        traces,
        60 + 38 * len(labels),
        "loss of larger models relative to the natural mixture, as predicted and as measured",
        shapes=[zero],
        xaxis={"nticks": 6, "tickformat": "+.3~f", "side": "top"},
        yaxis={
            "tickvals": list(range(len(order))),
            "ticktext": order,
            "range": [len(order) - 0.4, -0.6],
            "showgrid": False,
        },
    )
