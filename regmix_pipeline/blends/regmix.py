"""RegMix's own configuration files."""

from __future__ import annotations

from regmix_pipeline.blends.blend import Blend, Content, Source, is_number, number

BEFORE = "train_"


def regmix(content: Content) -> Blend | None:
    """A mapping ``train`` of ``train_<domain>`` and weight. RegMix's data loader divides the weights by their sum."""
    rows = content.value.get("train") if isinstance(content.value, dict) else None
    if not isinstance(rows, dict) or not rows or not all(is_number(weight) for weight in rows.values()):
        return None
    sources = []
    for name, weight in rows.items():
        place = content.at(f"train.{name}")
        sources.append(Source(str(name).removeprefix(BEFORE), number(weight, place), place))
    return Blend("regmix", content.path, tuple(sources))
