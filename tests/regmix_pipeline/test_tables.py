"""Tables show every value in full, whatever the width; numbers are written by one module."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from regmix_pipeline import progress
from regmix_pipeline.progress import Within
from regmix_pipeline.tables import show_table

WORDS = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=30)


def printed(width, headings, rows, **options):
    file = io.StringIO()
    show_table(Console(file=file, width=width), headings, rows, **options)
    return file.getvalue()


@settings(deadline=None)
@given(st.integers(20, 200), st.integers(1, 6), st.data())
def test_every_value_is_whole_at_any_width(width, columns, data):
    headings = data.draw(st.lists(WORDS, min_size=columns, max_size=columns))
    rows = data.draw(st.lists(st.lists(WORDS, min_size=columns, max_size=columns), min_size=1, max_size=4))
    text = printed(width, headings, rows)
    for row in rows:
        assert all(cell in text for cell in row)
    if max(map(len, headings)) + 1 + max(len(cell) for row in rows for cell in row) + 3 <= width:
        assert max(map(len, text.splitlines())) <= width


def test_columns_line_up_where_they_fit_and_rows_are_listed_where_they_do_not():
    headings, rows = (
        ("", "models", "FLOPs each"),
        [("proxies", "16", ("2.72e09", "red")), ("confirmation", "3", "1e10")],
    )
    assert printed(80, headings, rows) == (
        "              models  FLOPs each\n"
        "proxies           16     2.72e09\n"
        "confirmation       3        1e10\n\n"
    )  # fmt: skip
    assert printed(24, headings, rows) == (
        "proxies: models 16,\n  FLOPs each 2.72e09\nconfirmation: models 3,\n  FLOPs each 1e10\n\n"
    )


def test_a_long_training_says_how_far_it_is_and_a_short_one_nothing(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    within = Within("p1", 1000, 2048, said.append, 0, now[0], now[0])
    within.at(10)
    now[0] += 20
    within.at(200)
    within.at(201)
    assert said == ["    p1 200/1,000 steps, 410 k of 2.05 M tokens · ETA 1m20s"]
    now[0] += 80
    within.at(1000)
    assert len(said) == 1


@pytest.mark.parametrize("cell", ["[bold]", "[/]", "\\[x"])
def test_what_looks_like_markup_is_text(cell):
    assert cell in printed(80, ("a", "b"), [("x", cell)])
