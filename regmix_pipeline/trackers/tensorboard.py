"""TensorBoard: event files in a folder per study, a folder per proxy in it; weights are hyper-parameters."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.trackers.tracker import TrackedRun, checked_options, not_installed


class TensorBoard:
    """Options: ``folder`` for the event files; default ``tensorboard`` in the study's home."""

    live = True

    def __init__(self, study: str, home: Path, options: Mapping[str, Any]) -> None:
        folder = checked_options("tensorboard", options, ["folder"]).get("folder")
        self.folder = (home / "tensorboard" if folder is None else home / Path(folder).expanduser()) / study
        try:
            import tensorboard  # noqa: F401  (torch's writer needs it)
        except ImportError as error:
            raise not_installed("tensorboard", error) from error
        self._open: dict[str, tuple[Any, int]] = {}

    def send(self, run: TrackedRun) -> None:
        """See `Tracker.send`."""
        from torch.utils.tensorboard.summary import hparams

        # Taken out: after an error the run begins again.
        writer, sent = self._open.pop(run.proxy, None) or (self._begun(run), 0)
        for step, values in run.series(sent):
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        if not run.finished:
            writer.flush()
            self._open[run.proxy] = writer, run.last_step
            return
        weights = {f"weight/{name}": weight for name, weight in run.weights.items()}
        settings = {name: value for name, value in run.settings.items() if isinstance(value, int | float | str)}
        # The writer's own add_hparams would write the metrics a second time.
        for summary in hparams({**weights, **settings, "mixture": run.mixture}, run.last()):
            assert writer.file_writer is not None
            writer.file_writer.add_summary(summary)
        writer.close()

    def close(self) -> None:
        """Close the files of unfinished runs."""
        while self._open:
            self._open.popitem()[1][0].close()

    def _begun(self, run: TrackedRun) -> Any:
        from torch.utils.tensorboard.writer import SummaryWriter

        place = self.folder / run.proxy
        shutil.rmtree(place, ignore_errors=True)  # of a sending that was cut short
        # A TensorBoard that shows what was there forgets it.
        return SummaryWriter(str(place), purge_step=1)
