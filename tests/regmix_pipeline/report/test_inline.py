"""Inline pictures are valid SVG, small enough, and true to the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.report.inline import LIMIT, markdown, scatter_svg, weights_svg

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
    for x, y in re.findall(r"M(\d+) (\d+)h0", dots):
        assert 4 <= int(x) <= 96
        assert 4 <= int(y) <= 96


def test_scatter_keeps_the_extremes_and_leaves_out_nan() -> None:
    actual = [i / 600 for i in range(600)]
    _, dots = _paths(scatter_svg([*actual, float("nan")], [*actual, 1.0]))
    assert dots.startswith("M4 96h0")
    assert "M96 4h0" in dots
