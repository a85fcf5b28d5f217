"""Inline pictures are valid SVG, small enough, and true to the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.report.inline import (
    LIMIT,
    Spread,
    differences_svg,
    markdown,
    scatter_svg,
    spreads_svg,
    weights_svg,
)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_]{0,62}", fullmatch=True)
WEIGHTS = st.floats(0, 1)


def _parsed(svg: str) -> ElementTree.Element:
    assert len(markdown(svg, "weights chosen against the prior")) < LIMIT
    return ElementTree.fromstring(svg)


def _paths(svg: str) -> list[str]:
    return [element.attrib["d"] for element in _parsed(svg).iter("{http://www.w3.org/2000/svg}path")]


@given(st.dictionaries(NAMES, st.tuples(WEIGHTS, WEIGHTS), max_size=60))
def test_weights_always_fit(domains: dict[str, tuple[float, float]]) -> None:
    rows = [{"domain": name, "weight": weight, "prior": prior} for name, (weight, prior) in domains.items()]
    bars, ticks = _paths(weights_svg(rows))
    assert bars.count("M") == ticks.count("M") <= len(rows)


def test_demo_sized_studies_are_shown_whole() -> None:
    names = ["parliament_multilingual", "biomedical_papers", "code_python", "parliament_en", *"abcdef"]
    rows = [{"domain": name, "weight": (i + 1) / 55, "prior": 0.1} for i, name in enumerate(names)]
    bars, _ = _paths(weights_svg(rows))
    assert bars.count("M") == 10


def test_bars_are_proportional_and_the_heaviest_comes_first() -> None:
    rows = [{"domain": "small", "weight": 0.25, "prior": 0.5}, {"domain": "large", "weight": 0.75, "prior": 0.5}]
    svg = weights_svg(rows)
    bars, ticks = _paths(svg)
    assert [int(x) for x in re.findall(r"h(\d+)", bars)] == [99, 33]
    assert [int(x) for x in re.findall(r"M(\d+)", ticks)] == [66, 66]
    assert svg.index("large 75%") < svg.index("small 25%")


def test_what_is_left_out_is_counted() -> None:
    rows = [{"domain": f"domain_number_{i:02d}", "weight": 1 / 40, "prior": 1 / 40} for i in range(40)]
    svg = weights_svg(rows)
    bars, _ = _paths(svg)
    assert f"+ {40 - bars.count('M')} more" in svg


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=600))
def test_scatter_always_fits(pairs: list[tuple[float, float]]) -> None:
    _, dots = _paths(scatter_svg([a for a, _ in pairs], [b for _, b in pairs]))
    placed = re.findall(r"M(\d+) (\d+)h0", dots)
    assert len(placed) == dots.count("M")
    assert bool(placed) == bool(pairs)
    for x, y in placed:
        assert 4 <= int(x) <= 96
        assert 4 <= int(y) <= 96


def test_scatter_keeps_the_extremes_and_leaves_out_nan() -> None:
    actual = [i / 600 for i in range(600)]
    _, dots = _paths(scatter_svg([*actual, float("nan")], [*actual, 1.0]))
    assert dots.startswith("M4 96h0")
    assert "M96 4h0" in dots


@given(st.dictionaries(NAMES, st.lists(st.floats(-5, 50), min_size=6, max_size=6).map(sorted), max_size=60))
def test_spreads_always_fit_and_stay_inside(rows: dict[str, list[float]]) -> None:
    spreads = [Spread(name, v[0], v[1], v[3], v[5], v[2]) for name, v in rows.items()]
    ends, middles, marks = _paths(spreads_svg(spreads))
    assert ends.count("M") == middles.count("M") == marks.count("M") <= len(rows)
    for start, end in re.findall(r"M(-?\d+) \d+H(-?\d+)", ends + middles):
        assert 0 <= int(start) <= int(end) <= 99


def test_a_spread_runs_from_its_least_to_its_most() -> None:
    ends, middles, marks = _paths(spreads_svg([Spread("a", 0.0, 0.25, 0.5, 1.0, 0.5), Spread("b", 0.5, 0.5, 0.5, 0.5)]))
    assert ends.startswith("M0 5H99M50 15H50")
    assert middles.startswith("M25 5H50")
    assert marks == "M50 1v8"


@given(st.dictionaries(NAMES, st.floats(-5, 5), max_size=60))
def test_differences_always_fit(values: dict[str, float]) -> None:
    below, above, _ = _paths(differences_svg(values))
    assert below.count("M") + above.count("M") <= len(values)
    assert all(int(length) <= 0 for length in re.findall(r"h(-?\d+)", below))
    assert all(0 <= int(length) <= 48 for length in re.findall(r"h(-?\d+)", above))


def test_the_largest_difference_fills_its_side() -> None:
    svg = differences_svg({"worse": 0.2, "better": -0.1})
    below, above, _ = _paths(svg)
    assert (below, above) == ("M50 15h-24", "M50 5h48")
    assert "better -0.100" in svg
