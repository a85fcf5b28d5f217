"""The training of all proxies in one picture: a curve each, coloured by its objective, the odd ones named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import duckdb
import numpy as np

from regmix_pipeline.numbers import decimals
from regmix_pipeline.report.data import MEASURED, shares_of
from regmix_pipeline.report.plots import Plot, figure

FAR = 6.0
"""Robust standard deviations from the other proxies beyond which one is an outlier."""
FEWEST = 8
"""Proxies from which on one can be told from the others."""
NAMED = 8
"""Outliers that are named at most."""
COLOURS = ("#08519c", "#3182bd", "#6baed6", "#9ecae1", "#fdd0a2", "#fdae6b", "#fd8d3c", "#d94801")
"""From the lowest objective to the highest."""
POINTS_OF_ALL = 6000
"""Points that a picture for the Dagster UI has at most: it is kept in the event log."""
UNKNOWN, ODD = "#b0b0b0", "#8e5ea2"


@dataclass(frozen=True)
class Curve:
    """A proxy's training.

    Attributes:
        proxy, mixture: ids.
        tokens: trained on, increasing, (n,).
        losses: mean training loss since the point before, nats per token, (n,).
        highest: the highest training loss of a step since then, (n,).
        objective: its measured objective, nats per token; None where it is not known.
        why: why it is an outlier; empty where it is none.
    """

    proxy: str
    mixture: str
    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    highest: tuple[float, ...]
    objective: float | None
    why: str = ""


def read_curves(connection: duckdb.DuckDBPyConnection, objective: Mapping[str, float]) -> list[Curve]:
    """The curves of the proxies that hold now, by proxy; none of proxies that earlier versions trained.

    Args:
        connection: of the ledger.
        objective: target -> share.
    """
    query = (
        "select c.proxy, c.mixture, m.loss, c.tokens, c.training_loss, c.highest_training_loss "
        "from (select distinct proxy, mixture, tokens, training_loss, highest_training_loss "
        "from current_training_curves where isfinite(training_loss)) c "
        "left join (select proxy, any_value(loss) as loss from measured where final and target = 'objective' "
        "group by proxy) m using (proxy) order by c.proxy, c.tokens"
    )
    rows = connection.execute(MEASURED + query, shares_of(objective)).fetchall()
    found = []
    for proxy, points in groupby(rows, key=lambda row: row[0]):
        held = list(points)
        tokens, losses, highest = (tuple(row[column] for row in held) for column in (3, 4, 5))
        found.append(Curve(proxy, held[0][1], tokens, losses, highest, held[0][2]))
    return named(found)


def named(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, with why some are outliers: their objective is far above the others', or their training loss rose
    again as no other's did.

    Both are judged by the median and the median absolute deviation over all curves, so that outliers hide no outlier.
    """
    known = [curve.objective for curve in curves if curve.objective is not None]
    rises = [rise_of(curve) for curve in curves]
    found = []
    for curve, rise in zip(curves, rises, strict=True):
        why = ""
        if curve.objective is not None and _far(curve.objective, known):
            why = f"ends at {decimals(curve.objective)}, the median is {decimals(float(np.median(known)))}"
        elif _far(rise, rises):
            why = f"its training loss rose by {decimals(rise)}, the median rise is {decimals(float(np.median(rises)))}"
        found.append(Curve(**{**vars(curve), "why": why}))
    return found


def rise_of(curve: Curve) -> float:
    """By how much the training loss of a step exceeds the least mean before it, at most, nats per token.

    >>> rise_of(Curve("p", "m", (1, 2, 3), (9.0, 5.0, 6.0), (9.5, 5.5, 8.0), None))
    3.0
    """
    before = np.minimum.accumulate(curve.losses)[:-1]
    return float(max((np.asarray(curve.highest)[1:] - before).max(initial=0.0), 0.0))


def _far(value: float, among: Sequence[float]) -> bool:
    if len(among) < FEWEST:
        return False
    middle = float(np.median(among))
    deviation = 1.4826 * float(np.median(np.abs(np.asarray(among) - middle)))
    return value - middle > FAR * max(deviation, 1e-3 * abs(middle), 1e-9)


def outlier_lines(curves: Sequence[Curve]) -> list[str]:
    """The outliers in words, at most `NAMED`."""
    odd = [curve for curve in curves if curve.why]
    lines = [f"{curve.proxy} of mixture {curve.mixture}: {curve.why}" for curve in odd[:NAMED]]
    return [*lines, f"and {len(odd) - NAMED} more"] if len(odd) > NAMED else lines


def colour_of(curve: Curve, low: float, high: float) -> str:
    """The colour of a curve between the lowest and the highest objective."""
    if curve.objective is None:
        return UNKNOWN
    share = (curve.objective - low) / (high - low) if high > low else 0.0
    return COLOURS[min(int(share * len(COLOURS)), len(COLOURS) - 1)]


def ends_of(curves: Sequence[Curve]) -> tuple[float, float]:
    """The lowest and the highest objective of the curves that are no outliers."""
    known = [curve.objective for curve in curves if curve.objective is not None and not curve.why]
    return (min(known), max(known)) if known else (0.0, 0.0)


def draw(curves: Sequence[Curve]) -> Plot:
    """All curves: training loss against tokens, coloured by the objective; outliers dashed, with their names."""
    from plotly import graph_objects as go

    low, high = ends_of(curves)
    traces: list[Any] = []
    for colour in (*COLOURS, UNKNOWN):
        # One trace a colour: hundreds of traces are slow to draw.
        x, y = [], []
        for curve in curves:
            if not curve.why and colour_of(curve, low, high) == colour:
                x += [*curve.tokens, None]
                y += [*curve.losses, None]
        if x:
            line = {"color": colour, "width": 1}
            traces.append(go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.7, hoverinfo="skip"))
    for curve in [curve for curve in curves if curve.why][:NAMED]:
        traces.append(
            go.Scatter(
                x=curve.tokens,
                y=curve.losses,
                mode="lines+text",
                line={"color": ODD, "width": 2, "dash": "dash"},
                text=[*[""] * (len(curve.tokens) - 1), curve.proxy],
                textposition="middle left",
                hovertext=f"{curve.proxy}: {curve.why}",
                hoverinfo="text",
            )
        )
    label = f"training loss of {len(curves)} proxies against tokens; blue ends at {decimals(low)}, orange at "
    return figure(traces, 320, label + decimals(high), xaxis={"tickformat": "~s"}, yaxis={"nticks": 6})


def curves_svg(curves: Sequence[Curve], width: int = 640, height: int = 320) -> str:
    """The same as SVG, for the Dagster UI."""
    shown = [loss for curve in curves for loss in curve.losses]
    least, most, end = min(shown), max(shown), max(curve.tokens[-1] for curve in curves)
    low, high = ends_of(curves)
    kept = max(POINTS_OF_ALL // len(curves), 8)

    def path(curve: Curve) -> str:
        every = -(-len(curve.tokens) // kept)
        points = [*zip(curve.tokens, curve.losses, strict=True)][::-every][::-1]
        at = [
            (round(40 + (width - 50) * x / end), round(10 + (height - 40) * (most - y) / ((most - least) or 1)))
            for x, y in points
        ]
        style = f'stroke="{ODD}" stroke-dasharray="6 3" stroke-width="2"' if curve.why else ""
        style = style or f'stroke="{colour_of(curve, low, high)}" opacity=".7"'
        name = f'<text x="{at[-1][0]}" y="{at[-1][1] - 4}" text-anchor="end" fill="{ODD}">{curve.proxy}</text>'
        return f'<path {style} d="M{" ".join(f"{x} {y}" for x, y in at)}"/>{name if curve.why else ""}'

    ordered = sorted(curves, key=lambda curve: bool(curve.why))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'fill="none" font-family="sans-serif" font-size="11">{"".join(map(path, ordered))}<g fill="#888">'
        f'<text x="2" y="16">{decimals(most, 2)}</text><text x="2" y="{height - 28}">{decimals(least, 2)}</text>'
        f'<text x="{width - 10}" y="{height - 8}" text-anchor="end">{end:,} tokens; objective: blue {decimals(low)}, '
        f"orange {decimals(high)}</text></g></svg>"
    )
