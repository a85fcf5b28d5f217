"""What differs between two versions of an asset: which of its inputs were kept, replaced, added or taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regmix_pipeline.engine.reasons import Kind, Reason
from regmix_pipeline.engine.records import Recipe, Record


@dataclass(frozen=True)
class InputChanges:
    """Inputs (``asset/key``) of a record beside those of the record before it, sorted."""

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]


def input_changes(before: Record | None, after: Record) -> InputChanges:
    """Compare two records' inputs; without a record before, all inputs are new."""
    old, now = (dict(before.inputs) if before else {}), after.inputs
    return InputChanges(
        kept=tuple(sorted(name for name in now if old.get(name) == now[name])),
        changed=tuple(sorted(name for name in now if name in old and old[name] != now[name])),
        new=tuple(sorted(set(now) - set(old))),
        gone=tuple(sorted(set(old) - set(now))),
    )


def recipe_changes(record: Record, recipe: Recipe) -> Reason | None:
    """In what a recipe differs from the one that a record was made by; None where it does not."""
    if record.recipe == recipe.id:
        return None
    changed = _changed_keys(record.inputs, recipe.inputs)
    if changed:
        return Reason(Kind.INPUTS_CHANGED, changed)
    return Reason(Kind.SETTINGS_CHANGED, _changed_keys(record.settings, recipe.settings))


def _changed_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))
