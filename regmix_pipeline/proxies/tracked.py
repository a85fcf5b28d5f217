"""Proxies on their way to experiment trackers: every step is sent once, and none holds up the study."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import ProxyError, StudyError
from regmix_pipeline.files import read_json, write_json
from regmix_pipeline.proxies.integrity import RECORD, SPEED, is_step, trajectory_of
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.trackers.catalogue import TRACKERS
from regmix_pipeline.trackers.tracker import TrackedRun, Tracker

FOLDER = "tracking"
"""Folder of a home with a file for each proxy that a tracker has taken."""
_SETTINGS = ("seed", "tokens", "parameters", "steps", "device")
"""Of a finished proxy's record."""
_TRAINING = ("learning_rate", "windows_per_step", "schedule", "warmup_steps")


def tracked_run(folder: Path, study: str) -> TrackedRun:
    """A finished proxy as a tracker takes it.

    Args:
        folder: the proxy's.
        study: name of the study.

    Raises:
        ProxyError: the folder is damaged; it is then set aside.
    """
    value, rows = read_json(folder / RECORD), trajectory_of(folder)
    spec = ProxySpec.model_validate(value["spec"])
    speed = _speed_of(folder)
    rows = [{**row, "tokens_per_second": speed.get(row["step"])} if is_step(row) else row for row in rows]
    settings = {name: value[name] for name in _SETTINGS if value.get(name) is not None}
    return _run(value["id"], spec, study, rows, settings)


def running(spec: ProxySpec, study: str, rows: Sequence[Mapping[str, Any]]) -> TrackedRun:
    """A proxy that trains, as a tracker takes it; ``rows`` are those of `LiveRows`."""
    settings = {"seed": spec.seed, "parameters": spec.model.parameters(spec.vocabulary)}
    return replace(_run(spec.id, spec, study, rows, settings), finished=False)


def _run(
    name: str, spec: ProxySpec, study: str, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> TrackedRun:
    training = spec.training.model_dump(mode="json")
    return TrackedRun(
        name,
        study,
        spec.exact_mixture.id,
        spec.exact_mixture.weights,
        {**settings, **{name: training[name] for name in _TRAINING if spec.trainer is None}},
        [row for row in rows if is_step(row)],
        [row for row in rows if not is_step(row)],
    )


def _speed_of(folder: Path) -> dict[int, float]:
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(folder / SPEED).to_pylist()
    except (OSError, ValueError):  # earlier versions wrote none, and nothing depends on it
        return {}
    return {row["step"]: row["tokens_per_second"] for row in rows}


class Sender:
    """Sends finished proxies to a study's trackers.

    Args:
        workspace: the study on disk.
        names: trackers, instead of those of the study.
        again: send what was sent before too.

    Raises:
        StudyError: a tracker is not known, its package is not installed, or its options are wrong.
    """

    def __init__(self, workspace: Workspace, names: Sequence[str] = (), *, again: bool = False) -> None:
        settings = workspace.study.tracking
        self.study, self.home, self.say, self.again = workspace.study.name, workspace.home, workspace.say, again
        self.trackers: dict[str, Tracker] = {
            name: TRACKERS.find(name, "tracking.to")(self.study, self.home, settings.options.get(name, {}))
            for name in names or settings.to
        }

    def send(self, folder: Path) -> dict[str, str]:
        """Send a finished proxy to the trackers that have not taken it.

        Returns:
            Tracker -> why it did not take it, in words; empty where all did.
        """
        wanted = [name for name in self.trackers if self.again or not self._mark(name, folder).is_file()]
        if not wanted:
            return {}
        try:
            run = tracked_run(folder, self.study)
        except (ProxyError, OSError, ValueError) as error:
            return dict.fromkeys(wanted, f"{folder.name} cannot be read: {error}")
        return {name: problem for name in wanted if (problem := self._sent(name, run, folder))}

    def send_running(self, spec: ProxySpec, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Send what is known of a proxy that trains to the trackers that take it; returns as `send`."""
        live = [name for name, tracker in self.trackers.items() if getattr(tracker, "live", False)]
        run = running(spec, self.study, rows)
        return {name: problem for name in live if (problem := self._sent(name, run))}

    def close(self) -> None:
        """Nothing more is sent."""
        for tracker in self.trackers.values():
            with contextlib.suppress(Exception):  # of any library and network
                getattr(tracker, "close", lambda: None)()

    def _sent(self, name: str, run: TrackedRun, folder: Path | None = None) -> str:
        try:
            self.trackers[name].send(run)
        except Exception as error:  # of any library and network: training goes on
            return f"{name} did not take {run.proxy}: {type(error).__name__}: {error}"
        if folder is not None:
            write_json(self._mark(name, folder), {"proxy": run.proxy})
        return ""

    def _mark(self, name: str, folder: Path) -> Path:
        return self.home / FOLDER / name.replace(":", "-") / f"{folder.name}.json"


def sender_of(workspace: Workspace) -> Sender | None:
    """The sender of a study that has trackers; None where it has none, or one of them cannot be used, which is said."""
    if not workspace.study.tracking.to:
        return None
    try:
        return Sender(workspace)
    except StudyError as error:
        workspace.say(f"  proxies are not tracked: {error}")
        return None


def finished_folders(workspace: Workspace) -> list[Path]:
    """Folders of the proxies of today's mixtures that are finished, in the order of the mixtures."""
    from regmix_pipeline.mixtures.stage import current_mixtures
    from regmix_pipeline.proxies.current import current_specs

    groups: Any = current_specs(workspace, current_mixtures(workspace)).values()
    return [spec.output for group in groups for spec in group if spec.is_finished]
