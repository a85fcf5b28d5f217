"""What measuring a model on a target gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Loss:
    """A loss on a target.

    Attributes:
        loss: mean, nats per token.
        standard_error: its standard error, from the spread of windows, or of a task's items.
        bits_per_byte: of text, loss / ln 2 x tokens / bytes of the whole validation split; of a task, the mean over
            items.
        bits_per_byte_standard_error: standard_error in the same unit.
        evaluated_tokens: labels the loss was measured on.
        accuracy: share of a task's items with choices that are answered right; None of others.
        accuracy_standard_error: its standard error.
    """

    loss: float
    standard_error: float
    bits_per_byte: float
    bits_per_byte_standard_error: float
    evaluated_tokens: int
    accuracy: float | None = None
    accuracy_standard_error: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Its fields; accuracy only where it was measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}
