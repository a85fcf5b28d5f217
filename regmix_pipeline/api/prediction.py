"""Predicted losses with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Prediction:
    """Losses that a run of the fitted kind is predicted to have, nats per token.

    Attributes:
        targets: names of the T targets.
        mean: predicted losses, (m, T).
        low, high: ends of the interval in which a run's measured loss would fall with probability ``level``, (m, T).
        level: nominal coverage.
    """

    targets: tuple[str, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    level: float

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def frame(self) -> pl.DataFrame:
        """A row per mixture and target: row, target, predicted, low, high."""
        import polars as pl

        m, T = self.mean.shape
        return pl.DataFrame(
            {
                "row": np.repeat(np.arange(m), T),
                "target": list(self.targets) * m,
                "predicted": self.mean.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )

    def __repr__(self) -> str:
        return f"{len(self)} mixtures, intervals of {self.level:.0%}\n{self.frame}"

    def _repr_html_(self) -> str:
        return self.frame._repr_html_()
