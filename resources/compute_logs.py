"""Dagster's compute logs on disk, shown as they grow by a thread instead of by processes.

Dagster starts a `tail` for each stream, and a process that watches over it. A signal from the terminal reaches them as
well, and some are left behind when a run is killed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import dagster as dg
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file

LOOK_EVERY = 0.1
"""Seconds between two looks for new lines."""


class FollowedComputeLogManager(LocalComputeLogManager):
    """`LocalComputeLogManager` without further processes."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """``base_dir``, the folder of the logs; unless given, where Dagster has them."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> FollowedComputeLogManager:
        """Dagster's constructor."""
        folder = config_value.get("base_dir") or str(Path(os.environ["DAGSTER_HOME"]) / "storage")
        return cls(folder, inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Write what the process and its children print into files, and show it."""
        out, err = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        with _followed(sys.stdout, out), _followed(sys.stderr, err):
            yield CapturedLogContext(log_key)
        touch_file(self.complete_artifact_path(log_key))


@contextmanager
def _followed(stream: TextIO, path: str) -> Iterator[None]:
    """Let a stream write into a file, and copy what comes there to where the stream wrote before."""
    try:
        shown = os.dup(stream.fileno())
    except (OSError, ValueError):  # a stream without a file, as tests put in its place
        yield
        return
    ensure_file(path)
    start, ended = os.path.getsize(path), threading.Event()
    follower = threading.Thread(target=_follow, args=(path, start, shown, ended), daemon=True)
    follower.start()
    try:
        with redirect_to_file(stream, path):
            yield
    finally:
        ended.set()
        follower.join()
        os.close(shown)


def _follow(path: str, start: int, shown: int, ended: threading.Event) -> None:
    with open(path, "rb") as file:
        file.seek(start)
        while True:
            last = ended.wait(LOOK_EVERY)
            while block := file.read(1 << 16):
                try:
                    while block:
                        block = block[os.write(shown, block) :]
                except OSError:  # whoever read it is gone; the file keeps it
                    return
            if last:
                return
