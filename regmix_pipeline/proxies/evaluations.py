"""Files of measured losses: each carries the SHA-256 of what it says, so that a changed digit is not a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.files import canonical_json, read_json, sha256_of_bytes, write_json

SUM = "sha256"


def write_evaluation(path: Path, value: Mapping[str, Any]) -> None:
    """Write what was measured, with its checksum."""
    write_json(path, dict(value) | {SUM: _sum(value)})


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """What was measured; None where there is no such file, or one that was altered or damaged."""
    try:
        return measured(read_json(path))
    except (OSError, ValueError):
        return None


def measured(content: Any) -> dict[str, Any] | None:
    """The content of a file without its checksum; None where the two do not agree."""
    if not isinstance(content, dict):
        return None
    value = {name: item for name, item in content.items() if name != SUM}
    return value if content.get(SUM) == _sum(value) else None


def _sum(value: Mapping[str, Any]) -> str:
    return sha256_of_bytes(canonical_json(value).encode())
