"""Sends a study's proxies to its trackers while they train, from a thread: a slow tracker holds up no training."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.proxies.live import LiveRows
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.tracked import Sender, sender_of

LOOK_SECONDS = 5.0
"""Between looks for new steps."""
LEAVE_SECONDS = 5.0
"""How long a run that was stopped waits for a tracker."""


class Following:
    """Sends new steps of the proxies, and finished ones, while it is entered; leaving waits until all is sent.

    A tracker that fails is said and gets no more of this run: libraries try for minutes.

    Args:
        sender: of the study; None where it has no trackers.
        specs: the proxies that may train.
    """

    def __init__(self, sender: Sender | None, specs: Iterable[ProxySpec]) -> None:
        self.sender = sender
        self._rows = {spec.id: (spec, LiveRows(spec.live_steps)) for spec in specs if not spec.is_finished}
        self._finished: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Following:
        if self.sender is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.sender is None:
            return
        if kind is not None:  # stopped: `regmix track`, or the next run, sends what is missing
            self._stopped.set()
        self._finished.put(None)
        self._thread.join(None if kind is None else LEAVE_SECONDS)

    def finished(self, folder: Path) -> None:
        """Send a finished proxy, soon."""
        if self.sender is not None:
            self._finished.put(folder)

    def look(self) -> None:
        """Send the steps that are new."""
        assert self.sender is not None
        for spec, live in self._rows.values():
            if self._stopped.is_set():
                return
            if live.read_on():
                self._say(self.sender.send_running(spec, live.rows))

    def _run(self) -> None:
        assert self.sender is not None
        while True:
            try:
                folder = self._finished.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self.look()
                continue
            if folder is None or self._stopped.is_set():
                break
            self._rows.pop(folder.name, None)
            self._say(self.sender.send(folder))
        self.sender.close()

    def _say(self, problems: Mapping[str, str]) -> None:
        assert self.sender is not None
        for name, problem in problems.items():
            self.sender.say(
                f"  {problem}\n    nothing more is sent to it in this run; `regmix track` sends what it lacks"
            )
            self.sender.trackers.pop(name, None)


def following(workspace: Workspace, specs: Iterable[ProxySpec]) -> Following:
    """The following of a study's proxies."""
    return Following(sender_of(workspace), specs)
