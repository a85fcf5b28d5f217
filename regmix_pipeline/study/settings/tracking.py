"""Which experiment trackers a study's proxies are sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.trackers.catalogue import TRACKERS

if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = TRACKERS.name_type()


class TrackingSettings(Settings):
    """Experiment trackers that every proxy is sent to while it trains. No part of any result."""

    to: tuple[TrackerName, ...] = ()
    """Trackers: tensorboard, wandb, mlflow (each an extra of the same name), or package.module:Class of your own."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Tracker -> what it is made with, such as {mlflow: {uri: "http://127.0.0.1:5000"}}."""

    @model_validator(mode="after")
    def _consistent(self) -> TrackingSettings:
        if len(set(self.to)) < len(self.to):
            raise ValueError("a tracker is named twice")
        unknown = sorted(set(self.options) - set(self.to))
        if unknown:
            raise ValueError(f"options for {unknown}, which are not among the trackers")
        return self
