"""Values of Parquet columns that nothing depends on."""

from __future__ import annotations

from typing import Any


def readable_values(column: Any) -> list[Any]:
    """A column's Python values; None for each that Python cannot hold, such as bytes that are no text, dates beyond the
    year 9999 and unknown time zones.

    Args:
        column: a `pyarrow.Array`.
    """
    try:
        return column.to_pylist()
    except Exception:  # of many kinds, by the column's type
        return [_readable(value) for value in column]


def _readable(value: Any) -> Any:
    try:
        return value.as_py()
    except Exception:
        return None
