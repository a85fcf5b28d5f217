"""The trackers by name."""

from __future__ import annotations

from regmix_pipeline.registry import Registry

TRACKERS = Registry(
    "tracker",
    __name__,
    {"tensorboard": "tensorboard:TensorBoard", "wandb": "wandb:WeightsAndBiases", "mlflow": "mlflow:MLflow"},
)
"""Name -> `Tracker`."""
