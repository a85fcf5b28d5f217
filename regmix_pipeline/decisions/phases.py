"""The phases of the large run in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.numbers import percent


def phases_in_words(record: Mapping[str, Any]) -> list[str]:
    """A line for the phases and one for each that is settled; none for a run of one phase.

    >>> first = {"name": "pretraining", "tokens": 900, "mixture": {"web": 0.75, "code": 0.25}}
    >>> for line in phases_in_words({"phases": [first, {"name": "annealing", "tokens": 100, "mixture": None}]}):
    ...     print(line)
    Phases: pretraining (900 tokens), annealing (100 tokens). Chosen is the mixture of annealing; epochs are summed.
    pretraining: 75.0% web, 25.0% code
    """
    phases = record.get("phases") or []
    if not phases:
        return []
    listed = ", ".join(f"{row['name']} ({row['tokens']:,} tokens)" for row in phases)
    lines = [f"Phases: {listed}. Chosen is the mixture of {phases[-1]['name']}; epochs are summed."]
    for row in phases[:-1]:
        weights = sorted(row["mixture"].items(), key=lambda item: -item[1])
        lines.append(f"{row['name']}: {', '.join(f'{percent(weight)} {name}' for name, weight in weights)}")
    return lines
