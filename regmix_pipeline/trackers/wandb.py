"""Weights & Biases: a run per proxy, grouped by study, tagged with the mixture's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.trackers.tracker import TrackedRun, checked_options, not_installed


class WeightsAndBiases:
    """Options: ``project`` (default regmix), ``entity``, ``mode`` (online or offline; default $WANDB_MODE) and
    ``folder`` for its files (default ``wandb`` in the study's home)."""

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        given = checked_options("wandb", options, ["project", "entity", "mode", "folder"])
        self.folder = home / Path(given.pop("folder", "wandb")).expanduser()
        self.given = {"project": "regmix", **given}
        self.study = study
        try:
            import wandb
        except ImportError as error:
            raise not_installed("wandb", error) from error
        self.settings = wandb.Settings(
            silent=True, disable_git=True, disable_code=True, x_disable_stats=True, console="off"
        )

    def send(self, run: TrackedRun) -> None:
        """See `Tracker.send`."""
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        with wandb.init(
            **self.given,
            id=f"{run.study}-{run.proxy}",
            name=run.proxy,
            group=run.study,
            tags=run.tags,
            config={"mixture": run.mixture, "weights": dict(run.weights), **run.settings},
            dir=str(self.folder),
            resume="allow" if self.given.get("mode") != "offline" else None,
            reinit="create_new",
            settings=self.settings,
        ) as sent:
            for step, values in run.series():
                sent.log(values, step=step)
