"""How the best mixture moves with the size of the model, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regmix_pipeline.numbers import amount, percent
from regmix_pipeline.report.plots import Plot, figure

SHOWN = 8
"""Domains drawn at most, those of the highest weights."""
COLOURS = ("#1f77b4", "#d9821e", "#20857b", "#8e5ea2", "#7f7f7f", "#c0392b", "#8a97a6", "#b5a642")
HEIGHT = 340


def optimum_by_size(path: Sequence[Mapping[str, Any]]) -> Plot:
    """Weights of the best mixture against parameters; sizes that were trained have marks.

    Args:
        path: rows of `search.size_path.size_path`, the smallest size first.
    """
    from plotly import graph_objects as go

    names = sorted(path[0]["weights"], key=lambda name: -max(row["weights"][name] for row in path))[:SHOWN]
    sizes = [row["parameters"] for row in path]
    traces: list[Any] = []
    for name, colour in zip(names, COLOURS, strict=False):
        weights = [row["weights"][name] for row in path]
        said = [f"{name}: {percent(weight)} at {amount(size)}" for weight, size in zip(weights, sizes, strict=True)]
        marker = {"color": colour, "size": [9 if row["trained"] else 0 for row in path]}
        traces.append(
            go.Scatter(
                x=sizes,
                y=weights,
                mode="lines+markers",
                name=name,
                line={"color": colour},
                marker=marker,
                text=said,
                hoverinfo="text",
            )
        )
    label = "Weights of the best mixture against the model's parameters: " + "; ".join(
        f"{name} from {percent(path[0]['weights'][name])} to {percent(path[-1]['weights'][name])}" for name in names
    )
    return figure(
        traces,
        HEIGHT,
        label,
        showlegend=True,
        legend={"orientation": "h", "y": -0.2},
        xaxis={"type": "log", "title": {"text": "parameters"}},
        yaxis={"tickformat": ".0%", "rangemode": "tozero"},
    )
