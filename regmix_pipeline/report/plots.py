"""The report's plots, as plotly figures in JSON. Colours and marks mean the same thing on the whole page.

Blue and orange can be distinguished by every common kind of colour blindness, and every role also has its own mark.
Text and grid take the page's colours from style.css, so that one figure serves the light page, the dark one and paper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from regmix_pipeline.numbers import decimals, finite, percent
from regmix_pipeline.report.data import MixtureLoss, TrajectoryPoint

CHOSEN, NATURAL, UNIFORM, BEST, PROXY = "#1f77b4", "#7f7f7f", "#b0b0b0", "#d9821e", "#8a97a6"


class Role(NamedTuple):
    """What a named mixture is called and how it is drawn."""

    label: str
    colour: str
    symbol: str


ROLES: dict[str, Role] = {
    "chosen": Role("chosen", CHOSEN, "circle"),
    "natural": Role("natural", NATURAL, "diamond"),
    "uniform": Role("uniform", UNIFORM, "square"),
    "best_observed": Role("best proxy", BEST, "triangle-up"),
    "previous": Role("decision before", "#8e5ea2", "cross"),
}
"""Name of a mixture -> how it is shown. What the study's file gives besides has its own name; see `role_of`."""


def role_of(name: str) -> Role:
    """How a mixture is shown: one of `ROLES`, or a mixture that the study's file gives, under its own name."""
    return ROLES.get(name) or Role(name, "#20857b", "star")


AXIS_HEIGHT = 30
"""Height in CSS pixels of a plot of rows without its rows: the axis."""


@dataclass(frozen=True)
class Plot:
    """A figure for the page: plotly JSON, height in CSS pixels, and what it shows in words."""

    json: str
    height: int
    label: str


def figure(traces: Sequence[Any], height: int, label: str, **layout: Any) -> Plot:
    """A figure in the page's style; ``layout`` is plotly's, axes are merged with the common ones."""
    from plotly import graph_objects as go

    axis = {"fixedrange": True, "zeroline": False, "ticks": "", "gridcolor": "#d8d8d8", "automargin": True}
    base: dict[str, Any] = {
        "template": "none",
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "margin": {"l": 8, "r": 8, "t": 6, "b": 8},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#333333"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
    layout["xaxis"] = axis | layout.get("xaxis", {})
    layout["yaxis"] = axis | layout.get("yaxis", {})
    drawn = go.Figure(list(traces), base | layout)
    return Plot(json.dumps(_plain(drawn.to_plotly_json()), separators=(",", ":"), allow_nan=False), height, label)


def _plain(value: Any) -> Any:
    """JSON without NaN, and with no more digits than a plot can show."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        number = finite(value)
        return None if number is None else round(number, 6)
    return value


def marks(x: Sequence[Any], y: Sequence[Any], role: str, text: Sequence[str], size: int = 11, **more: Any) -> Any:
    from plotly import graph_objects as go

    label, colour, symbol = role_of(role)
    edge = {"color": NATURAL if role == "uniform" else colour, "width": 1}
    marker = {"color": colour, "symbol": symbol, "size": size, "line": edge}
    return go.Scatter(
        x=list(x), y=list(y), mode="markers", name=label, marker=marker, text=list(text), hoverinfo="text", **more
    )


def rows_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis of named rows from the top down, without the margin plotly would add to many of them."""
    order = {"type": "category", "categoryorder": "array", "categoryarray": list(names)}
    return order | {"range": [len(names) - 0.4, -0.6], "showgrid": False}


def weights(domains: Sequence[Mapping[str, Any]]) -> Plot:
    """Dumbbells from prior to chosen weight, the heaviest domain first; caps where the axis reaches them."""
    from plotly import graph_objects as go

    rows = sorted(domains, key=lambda row: -(finite(row.get("weight")) or 0.0))
    names = [wrapped(str(row["domain"])) for row in rows]
    chosen = [finite(row.get("weight")) or 0.0 for row in rows]
    prior = [finite(row.get("prior")) for row in rows]
    reach = 1.12 * max([*chosen, *(value for value in prior if value is not None)])
    caps = [
        (name, cap) for name, row in zip(names, rows, strict=True) if (cap := finite(row.get("cap"))) and cap <= reach
    ]
    lines_x = [value for a, b in zip(chosen, prior, strict=True) for value in (a, b, None)]
    lines_y = [value for name in names for value in (name, name, None)]
    ranges_x = [
        value for row in rows for value in (finite(row.get("low")), _at_most(finite(row.get("high")), reach), None)
    ]
    cap_mark = {"symbol": "line-ns", "size": 16, "color": "#c0392b", "line": {"width": 2.5, "color": "#c0392b"}}
    traces = [
        go.Scatter(
            x=ranges_x, y=lines_y, mode="lines", line={"color": CHOSEN, "width": 9}, opacity=0.2, hoverinfo="skip"
        ),
        go.Scatter(x=lines_x, y=lines_y, mode="lines", line={"color": UNIFORM, "width": 3}, hoverinfo="skip"),
        go.Scatter(
            x=[cap for _, cap in caps],
            y=[name for name, _ in caps],
            mode="markers",
            marker=cap_mark,
            text=[f"cap {percent(cap)}" for _, cap in caps],
            hoverinfo="text",
        ),
        marks(prior, names, "natural", [f"natural {percent(value)}" for value in prior], 10),
        marks(chosen, names, "chosen", [f"chosen {percent(value)}" for value in chosen], 13),
    ]
    epochs = {
        name: value for name, row in zip(names, rows, strict=True) if (value := finite(row.get("epochs"))) is not None
    }
    beside = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 6, "showarrow": False}
    notes = [{"y": name, "text": f"{value:.1f}", **beside} for name, value in epochs.items()]
    if notes:
        notes.append({"y": 1, "yref": "paper", "yanchor": "bottom", "text": "epochs", **beside})
    return figure(
        traces,
        44 + 30 * len(rows),
        "chosen weight, natural weight and cap of every domain",
        annotations=notes,
        margin={"l": 8, "r": 56 if notes else 8, "t": 24, "b": 8},
        xaxis={"range": [-0.02 * reach, reach], "tickformat": ".0%", "side": "top", "nticks": 6},
        yaxis=rows_axis(names),
    )


def _at_most(value: float | None, limit: float) -> float | None:
    return None if value is None else min(value, limit)


def wrapped(name: str, width: int = 14) -> str:
    """A name of two lines at most, broken at an underscore near its middle."""
    breaks = [i for i, letter in enumerate(name) if letter == "_"]
    if len(name) <= width or not breaks:
        return name
    middle = min(breaks, key=lambda i: abs(i - len(name) / 2))
    return f"{name[: middle + 1]}<br>{name[middle + 1 :]}"


def predictions(rows: Mapping[str, Mapping[str, Any]], label: str) -> Plot:
    """Predicted loss of each named mixture on one target with its 90% interval."""
    traces = []
    for name in dict.fromkeys([*ROLES, *rows]):
        role, row = role_of(name).label, rows.get(name)
        value = finite(row.get("predicted")) if row else None
        if row is None or value is None:
            continue
        low, high = (finite(row.get(end)) for end in ("low", "high"))
        bars = {"type": "data", "symmetric": False, "thickness": 1.6, "width": 0, "color": role_of(name).colour}
        bars |= {"array": [max(0.0, (high or value) - value)], "arrayminus": [max(0.0, value - (low or value))]}
        text = f"{role}: {decimals(value)} ({decimals(low)} to {decimals(high)})"
        traces.append(marks([value], [role], name, [text], error_x=bars))
    return figure(
        traces,
        AXIS_HEIGHT + 22 * len(traces),
        f"predicted loss on {label} of the chosen mixture and the alternatives",
        xaxis={"nticks": 4},
        yaxis=rows_axis([trace.y[0] for trace in traces]),
    )


def out_of_fold(points: Sequence[tuple[float, float]], label: str, *, large: bool = False) -> Plot:
    """Predicted against measured loss, by a regressor that had not seen the mixture; the line is equality."""
    from plotly import graph_objects as go

    values = [value for pair in points for value in pair]
    margin = 0.05 * ((max(values) - min(values)) or 0.1)
    ends = [min(values) - margin, max(values) + margin]
    text = [f"measured {decimals(actual)}<br>predicted {decimals(guess)}" for actual, guess in points]
    dots = {"color": CHOSEN, "size": 5, "opacity": 0.6}
    traces = [
        go.Scatter(x=ends, y=ends, mode="lines", line={"color": NATURAL, "width": 1}, hoverinfo="skip"),
        go.Scatter(
            x=[actual for actual, _ in points],
            y=[guess for _, guess in points],
            mode="markers",
            marker=dots,
            text=text,
            hoverinfo="text",
        ),
    ]
    axis = {"range": ends, "nticks": 4}
    height = 400 if large else 170
    return figure(traces, height, f"predicted against measured loss on {label}, out of fold", xaxis=axis, yaxis=axis)


def losses(
    by_target: Mapping[str, Sequence[MixtureLoss]], labels: Mapping[str, str], chosen: Mapping[str, float | None]
) -> Plot:
    """Every proxy's final loss, a row per target, with natural, uniform and the chosen one's prediction."""
    from plotly import graph_objects as go

    cloud, marked = ([], []), {name: ([], []) for name in ("natural", "uniform", "chosen")}
    for target, label in labels.items():
        row = wrapped(label, 16)
        for item in by_target.get(target, ()):
            x, y = marked.get(item.origin, cloud)
            x.append(item.loss)
            y.append(row)
        if (guess := finite(chosen.get(target))) is not None:
            marked["chosen"][0].append(guess)
            marked["chosen"][1].append(row)
    strokes = {"symbol": "line-ns", "size": 13, "opacity": 0.55, "line": {"width": 1.2, "color": PROXY}}
    proxies = go.Scatter(
        x=cloud[0], y=cloud[1], mode="markers", marker=strokes, text=[decimals(x) for x in cloud[0]], hoverinfo="text"
    )
    roles = [
        marks(x, y, name, [f"{name} {decimals(value)}" for value in x], 10) for name, (x, y) in marked.items() if x
    ]
    order = [wrapped(label, 16) for label in labels.values()]
    return figure(
        [proxies, *roles],
        50 + 30 * len(labels),
        "final losses of all proxies by target",
        xaxis={"nticks": 7},
        yaxis=rows_axis(order),
    )


def weight_against_loss(
    weights: Mapping[str, Mapping[str, float]], losses: Sequence[MixtureLoss], domain: str, chosen: float | None
) -> Plot:
    """Each proxy's objective against the weight of one domain; the vertical line is the weight chosen."""
    from plotly import graph_objects as go

    groups: dict[str, tuple[list[float], list[float]]] = {}
    for item in losses:
        if item.mixture in weights:
            x, y = groups.setdefault(item.origin if item.origin in ROLES else "sampled", ([], []))
            x.append(weights[item.mixture].get(domain, 0.0))
            y.append(item.loss)
    x, y = groups.pop("sampled", ([], []))
    reach = max([*x, chosen or 0.0, *(w for group in groups.values() for w in group[0]), 0.01])
    text = [f"weight {percent(w)}<br>loss {decimals(loss)}" for w, loss in zip(x, y, strict=True)]
    dots = {"color": PROXY, "size": 5, "opacity": 0.65}
    traces = [go.Scatter(x=x, y=y, mode="markers", marker=dots, text=text, hoverinfo="text")]
    traces += [marks(a, b, name, [f"{name} {decimals(v)}" for v in b], 8) for name, (a, b) in groups.items()]
    shapes = []
    if chosen is not None:
        line = {"color": CHOSEN, "width": 2}
        shapes = [{"type": "line", "x0": chosen, "x1": chosen, "y0": 0, "y1": 1, "yref": "paper", "line": line}]
    return figure(
        traces,
        150,
        f"objective against the weight of {domain}",
        shapes=shapes,
        xaxis={"tickformat": ".0%", "nticks": 4, "range": [-0.05 * reach, 1.06 * reach]},
        yaxis={"nticks": 4},
    )


def trajectory(steps: Sequence[TrajectoryPoint], label: str) -> Plot:
    """Median loss over training with the band that holds the middle 80% of the proxies."""
    from plotly import graph_objects as go

    tokens = [step.tokens for step in steps]
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    text = [f"{step.tokens:,} tokens<br>median {decimals(step.median)}" for step in steps]
    dot = {"size": 4, "color": PROXY}
    traces = [
        go.Scatter(x=tokens, y=[step.high for step in steps], **band),
        go.Scatter(x=tokens, y=[step.low for step in steps], fill="tonexty", fillcolor="rgba(138,151,166,0.3)", **band),
        go.Scatter(
            x=tokens,
            y=[step.median for step in steps],
            mode="lines+markers",
            marker=dot,
            line={"color": PROXY, "width": 2},
            text=text,
            hoverinfo="text",
        ),
    ]
    return figure(
        traces,
        150,
        f"loss on {label} during training, median and middle 80% of the proxies",
        xaxis={"type": "log", "dtick": 1, "tickformat": "~s"},
        yaxis={"nticks": 4},
    )
