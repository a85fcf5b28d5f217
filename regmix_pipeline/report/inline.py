"""Pictures small enough to stand in a line of metadata: SVG drawn by hand, less than 1000 characters as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from regmix_pipeline.numbers import finite

LIMIT = 990
"""Characters of Markdown a picture may take; the Dagster UI folds away Markdown of 1000 and more."""

_HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}"{}>'
_CHOSEN, _PRIOR, _MARK = "#1f77b4", "#aaa", "#d9821e"


def markdown(svg: str, alt: str = "") -> str:
    """The SVG as a Markdown image with its data inside."""
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def weights_svg(domains: Sequence[Mapping[str, Any]]) -> str:
    """A bar of each domain's chosen weight with a tick at its prior, the heaviest first.

    Names are shortened, and the lightest domains dropped, until its `markdown` has less than `LIMIT` characters.

    Args:
        domains: rows with ``domain``, ``weight`` and optionally ``prior``, as in a decision record.
    """
    rows = sorted(domains, key=lambda row: (-(finite(row.get("weight")) or 0.0), str(row["domain"])))
    rooms = [(count, letters) for count in range(len(rows), -1, -1) for letters in (18, 13, 9)]
    return _first_that_fits(lambda room: _bars(rows[: room[0]], room[1], len(rows) - room[0]), rooms)


def scatter_svg(actual: Sequence[float], predicted: Sequence[float]) -> str:
    """Predicted (up) against measured (across) with the line of equality; evenly subsampled until it fits `LIMIT`.

    Args:
        actual: measured losses, shape (n,).
        predicted: predicted losses, shape (n,); pairs with a number missing are left out.
    """
    pairs = [
        (a, b)
        for x, y in zip(actual, predicted, strict=True)
        if (a := finite(x)) is not None and (b := finite(y)) is not None
    ]
    pairs.sort()
    values = [value for pair in pairs for value in pair] or [0.0, 1.0]
    low, reach = min(values), (max(values) - min(values)) or 1.0
    points = [(round(4 + 92 * (a - low) / reach), round(96 - 92 * (b - low) / reach)) for a, b in pairs]
    distinct = list(dict.fromkeys(points))
    return _first_that_fits(lambda count: _dots(_evenly(distinct, count)), range(len(distinct), -1, -1))


@dataclass(frozen=True)
class Spread:
    """A row of `spreads_svg`: where values lie, from end to end and in the middle, and one of them that is marked."""

    name: str
    low: float
    middle_low: float
    middle_high: float
    high: float
    mark: float | None = None


def spreads_svg(rows: Sequence[Spread]) -> str:
    """A line from end to end of each row's values, thick over the middle of them, with a tick at the marked one."""
    rooms = [(count, letters) for count in range(len(rows), -1, -1) for letters in (18, 13, 9)]
    low = min((row.low for row in rows), default=0.0)
    reach = max([row.high for row in rows], default=1.0) - low or 1.0
    return _first_that_fits(lambda room: _spreads(rows[: room[0]], low, reach, room[1], len(rows) - room[0]), rooms)


def differences_svg(values: Mapping[str, float]) -> str:
    """A bar for each value from a common zero: blue to the left below it, orange to the right above it."""
    rows = list(values.items())
    rooms = [(count, letters) for count in range(len(rows), -1, -1) for letters in (18, 13, 9)]
    reach = max((abs(value) for value in values.values()), default=1.0) or 1.0
    return _first_that_fits(lambda room: _differences(rows[: room[0]], reach, room[1], len(rows) - room[0]), rooms)


def _first_that_fits(draw: Callable[[Any], str], rooms: Sequence[Any]) -> str:
    svg = ""
    for room in rooms:
        svg = draw(room)
        if len(markdown(svg)) < LIMIT - 40:  # leaves room for the alternative text
            break
    return svg


def _bars(rows: Sequence[Mapping[str, Any]], letters: int, left_out: int) -> str:
    chosen = [finite(row.get("weight")) or 0.0 for row in rows]
    prior = [finite(row.get("prior")) or 0.0 for row in rows]
    scale = 99 / max([*chosen, *prior, 1e-9])
    # One path for all bars, one for all ticks, and the names as lines of one block: the fewest characters.
    bars = "".join(f"M0 {10 * i + 5}h{round(weight * scale)}" for i, weight in enumerate(chosen))
    ticks = "".join(f"M{round(weight * scale)} {10 * i + 1}v8" for i, weight in enumerate(prior))
    names = [f"{_short(str(row['domain']), letters)} {100 * w:.0f}%" for row, w in zip(rows, chosen, strict=True)]
    return _beside(names, left_out, (_CHOSEN, 6, bars), (_PRIOR, 2, ticks))


def _spreads(rows: Sequence[Spread], low: float, reach: float, letters: int, left_out: int) -> str:
    def at(value: float) -> int:
        return round(99 * (value - low) / reach)

    ends = "".join(f"M{at(row.low)} {10 * i + 5}H{at(row.high)}" for i, row in enumerate(rows))
    middles = "".join(f"M{at(row.middle_low)} {10 * i + 5}H{at(row.middle_high)}" for i, row in enumerate(rows))
    marks = "".join(f"M{at(row.mark)} {10 * i + 1}v8" for i, row in enumerate(rows) if row.mark is not None)
    names = [_short(row.name, letters) for row in rows]
    return _beside(names, left_out, (_PRIOR, 1, ends), (_CHOSEN, 5, middles), (_MARK, 2, marks))


def _differences(rows: Sequence[tuple[str, float]], reach: float, letters: int, left_out: int) -> str:
    bars: dict[bool, str] = {True: "", False: ""}
    for i, (_, value) in enumerate(rows):
        bars[value < 0] += f"M50 {10 * i + 5}h{round(48 * value / reach)}"
    names = [f"{_short(name, letters)} {value:+.3f}" for name, value in rows]
    return _beside(
        names, left_out, (_CHOSEN, 6, bars[True]), (_MARK, 6, bars[False]), (_PRIOR, 1, f"M50 0v{10 * len(rows)}")
    )


def _beside(names: Sequence[str], left_out: int, *paths: tuple[str, int, str]) -> str:
    """Paths (colour, width, what is drawn) to the left, a name for each row of ten units to the right."""
    lines = [*names, *[f"+ {left_out} more"] * (left_out > 0)]
    height = 10 * len(lines)
    return (
        _HEAD.format(200, height, f' height="{2 * height}"')
        + "".join(f'<path stroke="{colour}" stroke-width="{width}" d="{drawn}"/>' for colour, width, drawn in paths)
        + f'<foreignObject x="103" width="97" height="{height}"><pre xmlns="http://www.w3.org/1999/xhtml" '
        + 'style="margin:0;font:7px/10px sans-serif;color:#888">'
        + escape("\n".join(lines))
        + "</pre></foreignObject></svg>"
    )


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _dots(points: Sequence[tuple[int, int]]) -> str:
    marks = "".join(f"M{x} {y}h0" for x, y in points)
    return (
        _HEAD.format(100, 100, ' height="200"')
        + f'<path stroke="{_PRIOR}" d="M4 96 96 4"/>'
        + f'<path stroke="{_CHOSEN}" stroke-width="3" stroke-linecap="round" d="{marks}"/></svg>'
    )


def _evenly(points: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """``count`` of the points, evenly spaced in their order, the first and the last among them."""
    if count >= len(points) or count < 2:
        return list(points[:count])
    return [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]
