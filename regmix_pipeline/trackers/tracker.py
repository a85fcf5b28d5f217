"""What a tracker gets: a proxy as a run of an experiment tracker, while it trains and when it is finished."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from regmix_pipeline.errors import StudyError

SERIES = {
    "training_loss": "train/loss",
    "gradient_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "tokens_per_second": "train/tokens_per_second",
}
"""Column of a step -> name of the series."""


@dataclass(frozen=True)
class TrackedRun:
    """A proxy, with all that is known of it so far.

    Attributes:
        proxy: its id, which names the run.
        study: name of the study, which groups the runs.
        mixture: id of its mixture.
        weights: domain -> weight, summing to 1.
        settings: name -> number or text: seed, parameters and such; tokens, steps and device once it is finished.
        steps: a row an optimiser step, increasing: step, and of `SERIES` what is known (losses in nats per token).
        losses: a row a target and step: target, step, loss (nats per token).
        finished: whether there will be no more.
    """

    proxy: str
    study: str
    mixture: str
    weights: Mapping[str, float]
    settings: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    losses: Sequence[Mapping[str, Any]]
    finished: bool = True

    @property
    def tags(self) -> list[str]:
        """The mixture as short texts, the heaviest domain first: ``web=0.600``."""
        return [f"{name[:56]}={weight:.3f}" for name, weight in sorted(self.weights.items(), key=lambda one: -one[1])]

    @property
    def last_step(self) -> int:
        """The last step that is known; 0 where none is."""
        return max((rows[-1]["step"] for rows in (self.steps, self.losses) if rows), default=0)

    def series(self, after: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
        """Step -> values of the series there, increasing, past the step ``after``; target losses are
        ``loss/<target>``."""
        found: dict[int, dict[str, float]] = {}
        for row in self._past(self.steps, after):
            values = {name: row[column] for column, name in SERIES.items() if row.get(column) is not None}
            found.setdefault(row["step"], {}).update(values)
        for row in self._past(self.losses, after):
            found.setdefault(row["step"], {})[f"loss/{row['target']}"] = row["loss"]
        yield from sorted(found.items())

    @staticmethod
    def _past(rows: Sequence[Mapping[str, Any]], after: int) -> Sequence[Mapping[str, Any]]:
        return rows[bisect_right(rows, after, key=lambda row: row["step"]) :]

    def last(self) -> dict[str, float]:
        """The last value of each series."""
        return {name: value for _, values in self.series() for name, value in values.items()}


class Tracker(Protocol):
    """Takes runs. A class with this constructor and `send` is a tracker; the registry or ``package.module:Class`` names
    it.

    One with ``live = True`` is sent a run again and again while its proxy trains, each time with all steps so far, and
    takes those that it has not. Where another process sent the first of them, the tracker knows, or begins the run
    again. It may have ``close()``, called when no more is sent.
    """

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        """Args:
            study: its name.
            home: the study's home, for trackers that write files.
            options: what the study file says of this tracker.

        Raises:
            StudyError: an option is not known, or a package is not installed.
        """
        ...

    def send(self, run: TrackedRun) -> None:
        """Take a run. Any exception means that it was not taken, and it is sent again later."""
        ...


def checked_options(tracker: str, options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """The options of a tracker.

    Raises:
        StudyError: one is not known.
    """
    unknown = [name for name in options if name not in known]
    if unknown:
        raise StudyError(
            f"{unknown[0]!r} is not an option", where=f"tracking.{tracker}", remedy=f"give {', '.join(known)}"
        )
    return dict(options)


def not_installed(tracker: str, error: ImportError) -> StudyError:
    """The error for a tracker whose package cannot be imported."""
    return StudyError(
        f"its package cannot be imported: {error}",
        where=f"tracking.{tracker}",
        remedy=f"pip install 'regmix-pipeline[{tracker}]'",
    )
