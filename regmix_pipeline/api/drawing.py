"""The report's plots as plotly figures, with titles of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regmix_pipeline.report.plots import Plot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def as_figure(plot: Plot, across: str = "", up: str = "") -> Figure:
    """A plot of the report as a figure: its axes may have titles, since no page stands around it.

    Args:
        plot: of `report.plots`.
        across, up: titles of the axes.
    """
    from plotly import graph_objects as go

    figure = go.Figure(json.loads(plot.json))
    return figure.update_layout(
        height=plot.height + 60,
        width=640,
        title={"text": plot.label, "font": {"size": 13}},
        margin={"t": 60, "l": 60, "b": 50},
        xaxis_title=across,
        yaxis_title=up,
    )
