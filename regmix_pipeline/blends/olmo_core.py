"""OLMo-core's source mixture."""

from __future__ import annotations

from regmix_pipeline.blends.blend import Blend, Content, Source, number

TOLERANCE = 1e-5
"""OLMo-core compares the sum of the ratios with 1 by numpy.isclose (data/source_mixture.py)."""


def olmo_core(content: Content) -> Blend | None:
    """A list ``sources`` of source_name and target_ratio. The library refuses ratios that do not sum to 1."""
    value = content.value
    while isinstance(value, dict) and "sources" not in value:
        inner = [each for each in value.values() if isinstance(each, dict)]
        value = inner[0] if len(inner) == 1 else None
    if not isinstance(value, dict):
        return None
    rows = value["sources"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "target_ratio" in row for row in rows):
        return None
    sources = []
    for place, row in enumerate(rows):
        where = content.at(f"sources.{place}")
        most = row.get("max_repetition_ratio")
        sources.append(
            Source(
                str(row.get("source_name", place)),
                number(row["target_ratio"], f"{where}.target_ratio"),
                where,
                max_epochs=None if most is None else number(most, f"{where}.max_repetition_ratio", "a ratio"),
            )
        )
    budget = value.get("requested_tokens") or value.get("max_tokens")
    return Blend(
        "olmo-core",
        content.path,
        tuple(sources),
        refuses=TOLERANCE,
        budget=None if budget is None else number(budget, content.at("requested_tokens"), "a number of tokens"),
    )
