"""The loss that n-gram counts predict for a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import written_atomically

Array = NDArray[np.float64]
AT_ONCE = 1 << 22
"""Probabilities of a block of mixtures that are held at once."""


_SCHEMA = pa.schema({"domain": pa.string(), "target": pa.string(), "probabilities": pa.list_(pa.float32())})


@dataclass(frozen=True, eq=False)
class NgramEvidence:
    """Probabilities that every domain's counts give the tokens of every target's sample.

    Attributes:
        domains: columns of a weights array, length d.
        probabilities: target -> p_i(token | the token before) for domain i, (n, d), above 0.
    """

    domains: tuple[str, ...]
    probabilities: Mapping[str, Array]

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, in order."""
        return tuple(self.probabilities)

    def losses(self, weights: Array, targets: Sequence[str] | None = None) -> Array:
        """Losses in nats per token, m_t(w) = -mean over tokens of log sum_i w_i p_i: (m, d) -> (m, T).

        Each is convex in the mixture. Weights that do not sum to 1 are scaled.

        >>> evidence = NgramEvidence(("web", "code"), {"web": np.array([[0.5, 0.1], [0.25, 0.05]])})
        >>> evidence.losses(np.array([[1.0, 0.0], [0.0, 1.0]])).round(3).tolist()
        [[1.04], [2.649]]
        """
        weights = weights / weights.sum(axis=1, keepdims=True)
        targets = self.targets if targets is None else targets
        found = np.empty((len(weights), len(targets)))
        for column, target in enumerate(targets):
            table = self.probabilities[target]
            size = max(AT_ONCE // len(table), 1)
            for first in range(0, len(weights), size):
                rows = slice(first, first + size)
                found[rows, column] = -np.log(weights[rows] @ table.T).mean(axis=1)
        return found

    def gradient(self, weights: Array, target: str) -> Array:
        """Derivatives of one target's loss by the weights at a mixture (d,) that sums to 1, (d,).

        >>> evidence = NgramEvidence(("web", "code"), {"web": np.array([[0.5, 0.1], [0.25, 0.05]])})
        >>> evidence.gradient(np.array([0.5, 0.5]), "web").round(3).tolist()
        [-1.667, -0.333]
        """
        table = self.probabilities[target]
        return -(table / (table @ weights)[:, None]).mean(axis=0)

    def over(self, domains: Sequence[str], targets: Sequence[str]) -> NgramEvidence | None:
        """The same for these domains and targets, in their order; None where something is not known of one."""
        if not set(domains) <= set(self.domains) or not set(targets) <= set(self.targets):
            return None
        columns = [self.domains.index(name) for name in domains]
        return NgramEvidence(tuple(domains), {name: self.probabilities[name][:, columns] for name in targets})

    def save(self, path: Path) -> None:
        """Write it as Parquet in single precision: a row a domain and target."""
        rows = [
            {"domain": domain, "target": target, "probabilities": table[:, column].astype(np.float32)}
            for target, table in self.probabilities.items()
            for column, domain in enumerate(self.domains)
        ]
        with written_atomically(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary)

    @classmethod
    def load(cls, *paths: Path) -> Self:
        """Read what `save` wrote, of all domains in one file or of each in its own.

        Raises:
            RegressionError: a file is missing or damaged.
        """
        columns: dict[str, dict[str, Array]] = {}
        for path in paths:
            try:
                table = pq.read_table(path, schema=_SCHEMA)
            except (OSError, pa.ArrowException) as problem:
                raise RegressionError(f"cannot be read: {problem}", where=str(path), remedy="fit again") from problem
            for domain, target, values in zip(*(table[name] for name in table.column_names), strict=True):
                found = columns.setdefault(target.as_py(), {})
                found[domain.as_py()] = values.values.to_numpy(zero_copy_only=False).astype(np.float64)
        tables = {target: np.column_stack(list(found.values())) for target, found in columns.items()}
        return cls(tuple(next(iter(columns.values()))), tables)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: it does not change, and copies of a regressor share it."""
        return self
