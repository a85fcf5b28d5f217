"""What differs between two versions of an asset: which of its inputs were kept, replaced, added or taken away."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.ledger.records import Record


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
