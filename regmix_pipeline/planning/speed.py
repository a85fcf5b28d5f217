"""How fast a worker is at one kind of model."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.planning.work import Work


@dataclass(frozen=True)
class Speed:
    """Seconds of a worker at one kind of model.

    Attributes:
        startup: of the worker process, until it can take a task.
        loading: of a model: windows, weights.
        step: of an optimiser step.
        sampling: of all losses along one model's way.
        writing: of the finished model, and handing it over.
        evaluation: of one final loss, the model's loading among it.
        source: where these come from.
        peak_bytes: most that a worker held; 0 if not measured.
        workers: how many trained at once.
        stack: models that a worker trained as one program; the seconds are each one's share.
        core_share: share of the time in which a worker of the trial had its core for itself.
    """

    startup: float
    loading: float
    step: float
    sampling: float
    writing: float
    evaluation: float
    source: str
    peak_bytes: int = 0
    workers: int = 1
    stack: int = 1
    core_share: float = 1.0

    def model_seconds(self, work: Work) -> float:
        """Seconds of a worker for one model."""
        return self.loading + work.steps * self.step + self.sampling + self.writing
