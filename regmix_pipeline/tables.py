"""Tables in a terminal or a pipe: every value in full, whatever the width.

A table that fits is set in columns, without lines around its cells, so that it reads alike in a terminal, a pipe and a
log. One that does not is printed row by row, each value with its heading.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.text import Text

Cell = str | tuple[str, str]
"""Text, or text and its style."""
GAP = "  "


def show_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    title: str = "",
    left: Collection[str] = (),
    bold: Collection[int] = (),
) -> None:
    """Print a table.

    Args:
        console: where to; its width decides between columns and rows.
        headings: of the columns; the first column names the rows.
        rows: their cells.
        title: printed above.
        left: headings of further columns that are set flush left; numbers are flush right.
        bold: positions of rows that stand out.
    """
    if title:
        console.print(title, style="italic", markup=False, highlight=False)
    if not rows:
        console.print("  none")
        return
    texts = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    widths = [max(len(column) for column in columns) for columns in zip(headings, *texts, strict=True)]
    if sum(widths) + len(GAP) * (len(widths) - 1) <= console.width:
        flush = [number == 0 or heading in left for number, heading in enumerate(headings)]
        _line(console, _set(headings, widths, flush), "bold")
        for number, row in enumerate(rows):
            _line(console, _set(row, widths, flush), "bold" if number in bold else "")
    else:
        for number, row in enumerate(rows):
            _print_row(console, headings, row, "bold" if number in bold else "")
    console.print()


def _set(cells: Sequence[Cell], widths: Sequence[int], flush: Sequence[bool]) -> Text:
    line = Text()
    for number, (cell, width, to_left) in enumerate(zip(cells, widths, flush, strict=True)):
        text, style = (cell, "") if isinstance(cell, str) else cell
        line.append((GAP if number else "") + (text.ljust(width) if to_left else text.rjust(width)), style=style)
    line.rstrip()
    return line


def _print_row(console: Console, headings: Sequence[str], row: Sequence[Cell], style: str) -> None:
    """A row as ``name: heading value, heading value``, broken between values only."""
    texts = [cell if isinstance(cell, str) else cell[0] for cell in row]
    items = [f"{heading} {text}".strip() for heading, text in zip(headings[1:], texts[1:], strict=True) if text]
    line = f"{texts[0]}: " if texts[0] else ""
    for number, item in enumerate(items):
        last = number == len(items) - 1
        if len(line) > 2 and len(line) + len(item) + (not last) > console.width:
            _line(console, Text(line.rstrip()), style)
            line = "  "
        line += item + ("" if last else ", ")
    _line(console, Text(line.rstrip(" :") if not items else line), style)


def _line(console: Console, text: Text, style: str) -> None:
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
