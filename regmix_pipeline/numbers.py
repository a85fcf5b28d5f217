"""How reports and commands write numbers: digits that mean something, and a dash where there is no number."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

NONE = "–"
"""Written where a number is missing."""

NOT_RECORDED = "not recorded"
"""Written where a fact should be and is not."""


def finite(value: Any) -> float | None:
    """The value as a finite float, or None: NULL, NaN and infinities are all "no number"."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


def _written(value: Any, write: Callable[[float], str], missing: str = NONE) -> str:
    number = finite(value)
    return missing if number is None else write(number)


def decimals(value: Any, digits: int = 3) -> str:
    """A loss or a score with ``digits`` decimals; a true minus sign."""
    return _written(value, lambda number: f"{number:.{digits}f}".replace("-", "−"))


def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign."""
    return _written(value, lambda number: f"{number:+.{digits}f}".replace("-", "−"))


def percent(value: Any) -> str:
    """A weight in [0, 1] as a percentage with one decimal; never "0.0%" for what is not zero."""
    return _written(value, lambda number: "< 0.1%" if 0 < number < 0.0005 else f"{100 * number:.1f}%")


def chance(value: Any) -> str:
    """A probability; never "100%" for what is not certain."""
    number = finite(value)
    if number is None:
        return NOT_RECORDED
    if number > 0.999:
        return "> 99.9%"
    if number < 0.001:
        return "< 0.1%"
    return f"{100 * number:.0f}%" if 0.01 <= number <= 0.99 else f"{100 * number:.1f}%"


def integer(value: Any) -> str:
    """A count with thousands separated by commas."""
    return _written(value, lambda number: f"{round(number):,}")


def amount(value: Any) -> str:
    """A large count in thousands, millions, billions, trillions: three significant digits."""
    number = finite(value)
    if number is None:
        return NONE
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"
    return f"{round(number):,}"


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """``low–high``, with "to" between when an end is negative; a dash when an end is missing."""
    ends = finite(low), finite(high)
    if ends[0] is None or ends[1] is None:
        return NONE
    between = " to " if min(ends[0], ends[1]) < 0 else "–"
    return f"{decimals(low, digits)}{between}{decimals(high, digits)}"


def times(value: Any) -> str:
    """A ratio: ``1.99×``, which no narrow column breaks; never "0.00×" for what is not zero."""
    return _written(value, lambda number: "< 0.01×" if 0 < number < 0.005 else f"{number:.2f}×")


def short(value: Any) -> str:
    """A setting's number with no more digits than it needs: ``4``, ``2.5``; "not recorded" when missing."""
    return _written(value, lambda number: f"{number:g}", NOT_RECORDED)


def listed(names: list[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
