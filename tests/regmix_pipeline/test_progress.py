"""Progress is lines in a file or pipe, and a bar on a terminal."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

from regmix_pipeline import progress
from regmix_pipeline.progress import Progress, at_work, to_stderr


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """``stderr(file)``: put a file in the place of standard error, a minute after work began."""

    def replace(written):
        # Not before the test itself: pytest puts its own file there.
        monkeypatch.setattr(sys, "stderr", written)
        monkeypatch.setattr(progress, "_silent", False)
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 60.0))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        return written

    return replace


def work():
    """Four items, and a line between them."""
    with at_work("proxy_losses"):
        counted = Progress("proxy_losses", 4, started=0.0)
        counted.advance(2, "m1")
        to_stderr("[a line] of its own")
        counted._last = 0.0
        counted.advance(1)
        counted.advance(1, "m4")


def test_a_pipe_gets_plain_lines_with_the_time_left(stderr):
    written = stderr(io.StringIO())
    work()
    assert written.getvalue().splitlines() == [
        "  proxy_losses          2/4 · ETA 1m00s · m1",
        "[a line] of its own",
        "  proxy_losses          3/4 · ETA 20s",
        "  proxy_losses          4/4 · took 1m00s · m4",
    ]


def test_a_terminal_gets_a_bar_with_the_time_left_that_goes_away(stderr):
    terminal = stderr(Terminal())
    work()
    written = re.sub(r"\x1b\[\d+m", "", terminal.getvalue())  # colours
    assert "2/4 ETA 1m00s · m1" in written
    assert "━" in written
    assert "[a line] of its own\n" in written
    # The cursor that the bar hid is back, and the last line stays.
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert written.endswith("  proxy_losses          4/4 · took 1m00s · m4\n")
    assert not progress._bars


def test_a_bar_goes_away_with_the_stage_that_failed(stderr):
    terminal = stderr(Terminal())

    def fail():
        with at_work("proxy_losses"):
            Progress("proxy_losses", 4, started=0.0).advance()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not progress._bars
    written = terminal.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
