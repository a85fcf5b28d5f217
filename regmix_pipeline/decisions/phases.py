"""The phases of the large run in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regmix_pipeline.numbers import listed, percent
from regmix_pipeline.study.phases_of_decision import chosen_together, phases_decided


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
    stated = ", ".join(f"{row['name']} ({row['tokens']:,} tokens)" for row in phases)
    together = chosen_together(record)
    if not together:
        line = f"Phases: {stated}. Chosen is the mixture of {phases[-1]['name']}; epochs are summed."
        return [line, *(f"{row['name']}: {mixture_in_words(row['mixture'])}" for row in phases[:-1])]
    lines = [
        f"Phases: {stated}. Chosen at once are the mixtures of {listed(list(together))}; epochs are summed, and a "
        "weight is a share of the tokens of these phases together."
    ]
    for row in phases_decided(record):
        lines.append(f"{row['name']}{' (chosen)' * row['chosen']}: {mixture_in_words(row['mixture'])}")
    return lines


def mixture_in_words(weights: Mapping[str, float]) -> str:
    """Domains and their shares, the heaviest first.

    >>> mixture_in_words({"books": 0.1, "web": 0.7, "code": 0.2})
    '70.0% web, 20.0% code, 10.0% books'
    """
    return ", ".join(f"{percent(weight)} {name}" for name, weight in sorted(weights.items(), key=lambda item: -item[1]))
