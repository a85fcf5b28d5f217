"""Weights & Biases: a run per proxy, grouped by study, tagged with the mixture's weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.trackers.tracker import TrackedRun, checked_options, not_installed


class WeightsAndBiases:
    """Options: ``project`` (default regmix), ``entity``, ``mode`` (online or offline; default $WANDB_MODE) and
    ``folder`` for its files (default ``wandb`` in the study's home)."""

    live = True

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        given = checked_options("wandb", options, ["project", "entity", "mode", "folder"])
        self.folder = home / Path(given.pop("folder", "wandb")).expanduser()
        self.given = {"project": "regmix", **given}
        self._open: dict[str, tuple[Any, int]] = {}
        try:
            import wandb
        except ImportError as error:
            raise not_installed("wandb", error) from error
        self.settings = wandb.Settings(
            silent=True, disable_git=True, disable_code=True, x_disable_stats=True, console="off"
        )

    def send(self, run: TrackedRun) -> None:
        """See `Tracker.send`."""
        # Taken out: after an error the run begins again.
        sent, last = self._open.pop(run.proxy, None) or self._begun(run)
        for step, values in run.series(last):
            sent.log(values, step=step)
        if not run.finished:
            self._open[run.proxy] = sent, run.last_step
            return
        sent.config.update(dict(run.settings), allow_val_change=True)
        sent.finish()

    def close(self) -> None:
        """End the sending of unfinished runs."""
        while self._open:
            self._open.popitem()[1][0].finish(exit_code=1)

    def _begun(self, run: TrackedRun) -> tuple[Any, int]:
        """The run, and the last step that the server has of it."""
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        begun = wandb.init(
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
        )
        if not begun.offline:
            return begun, begun.starting_step - 1
        own = Path(begun.dir).parent
        for before in own.parent.glob(f"offline-run-*-{begun.id}"):
            if before != own:  # of a sending that was cut short
                shutil.rmtree(before, ignore_errors=True)
        return begun, 0
