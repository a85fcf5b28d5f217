"""Which model size a decision's predictions are for, and whether its choice survives the jump to the large run, in
words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.numbers import amount, chance, interval, signed


def moved(record: Mapping[str, Any]) -> bool:
    """Whether predictions are for the large run's size, by slopes of size."""
    return bool((record.get("size") or {}).get("used"))


def whose(record: Mapping[str, Any]) -> str:
    """Whose loss is predicted: ``a proxy``, or ``a model of 1.1 B parameters``."""
    return f"a model of {amount(record['size']['target']['parameters'])} parameters" if moved(record) else "a proxy"


def sizes_in_words(record: Mapping[str, Any]) -> list[str]:
    """A sentence on slopes of size and one for each mixture that the chosen one is compared with; none without larger
    proxies."""
    size = record.get("size")
    if not size:
        return []
    parameters = amount(size["target"]["parameters"])
    return [
        f"Larger proxies: {size['note']}.",
        *(
            f"At {parameters} parameters it beats {_rival(row['rival'])} with probability {chance(row['chance'])}: "
            f"{signed(row['gain'])} nats per token ({interval(row['low'], row['high'])})."
            for row in size["chances"]
        ),
    ]


def _rival(name: str) -> str:
    return {"natural": "the natural mixture", "runner-up": "the runner-up, the best measured mixture besides it"}[name]
