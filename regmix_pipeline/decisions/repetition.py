"""Limits on epochs and what caps cost, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.numbers import finite, percent, signed

LIMITED = "limits.max_epochs"


def epochs_in_words(record: Mapping[str, Any]) -> list[str]:
    """A line for each limit on epochs that a reader should know of: those of their own, and those with a reason.

    >>> own = {"max_epochs": 6.0, "set_by": "domains.maths.max_epochs", "reason": "best at 5 to 6 (2608.14071)"}
    >>> epochs_in_words({"repetition": {"maths": own}})
    ['maths may be seen 6 times (domains.maths.max_epochs): best at 5 to 6 (2608.14071)']
    """
    found: dict[tuple[str, float, str], list[str]] = {}
    for domain, row in (record.get("repetition") or {}).items():
        if row["reason"] or row["set_by"] != LIMITED:
            found.setdefault((row["set_by"], row["max_epochs"], row["reason"]), []).append(domain)
    return [
        f"{'all others' if field == LIMITED and len(found) > 1 else ', '.join(domains)} may be seen {most:g} times "
        f"({field}): {reason or 'no reason is written'}"
        for (field, most, reason), domains in found.items()
    ]


def prices_in_words(record: Mapping[str, Any]) -> list[str]:
    """A line for each cap that holds the answer: what more room in it would gain."""
    return [price_in_words(row) for row in record.get("shadow_prices") or ()]


def price_in_words(row: Mapping[str, Any]) -> str:
    """What more room in a cap would gain, in a sentence; see `search.shadow_prices`.

    >>> further = {"epochs": 6.0, "cap": 0.3, "gain": 0.012, "low": None, "high": None, "measured": True}
    >>> row = {"limit": "cap of maths", "epochs": 4.0, "cap": 0.2, "price_per_epoch": 0.007, "further": further}
    >>> for part in price_in_words(row).split("; "):
    ...     print(part)
    cap of maths: at 6 epochs instead of 4 the predicted gain is +0.0120 nats per token
    at the cap, an epoch more is worth 0.0070
    """
    said = f"{row['limit']}: {room_in_words(row, row['further'])}"
    if row["price_per_epoch"] is not None:
        return f"{said}; at the cap, an epoch more is worth {row['price_per_epoch']:.4f}"
    return f"{said}; at the cap, a point more is worth {row['price_per_point']:.4f}"


def room_in_words(row: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What a cap at another value gains; both as of `search.shadow_prices`."""
    if other["epochs"] is None:
        said = f"at {percent(other['cap'])} instead of {percent(row['cap'])}"
    else:
        said = f"at {other['epochs']:.3g} epochs instead of {row['epochs']:.3g}"
    said += f" the predicted gain is {signed(other['gain'], 4)} nats per token"
    low, high = finite(other["low"]), finite(other["high"])
    if low is not None and high is not None and other["gain"]:
        said += f" (90% interval {signed(low, 4)} to {signed(high, 4)})"
    return said if other["measured"] else f"{said}, beyond what any run held"
