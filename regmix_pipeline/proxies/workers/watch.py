"""What a training leaves behind on its way goes into the store as it appears, so that another machine can go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.proxies.workers.store import Store, folders_of

LOOK_SECONDS = 5.0
"""Between looks for a new snapshot or landmark to put into the store."""


class Watch:
    """Puts landmarks and new snapshots of some trainings into the store while it is entered.

    A landmark goes before any snapshot past it. Whatever goes wrong is printed, and tried again at the next look: the
    training itself does not depend on it.

    Args:
        store: where they go.
        specs: the trainings, with their folders on this machine.
    """

    def __init__(self, store: Store, specs: Sequence[ProxySpec]) -> None:
        self.store = store
        self._watched = {spec.id: spec for spec in specs}
        self._seen = {spec.id: _time_of(spec.snapshot) for spec in specs}
        self._put: set[str] = set()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def leave(self, spec: ProxySpec) -> None:
        """Watch a training no more; nothing of it is put into the store after this returns."""
        with self._lock:
            self._watched.pop(spec.id, None)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for name in list(self._watched):
                with self._lock:
                    spec = self._watched.get(name)
                    if spec is not None:
                        self._look_safely(spec)

    def _look_safely(self, spec: ProxySpec) -> None:
        try:
            self._look(spec)
        except Exception as error:
            what = f"its snapshot was not put into the store: {type(error).__name__}: {error}"
            print(f"proxy {spec.id}: {what}; it is tried again", file=sys.stderr)

    def _look(self, spec: ProxySpec) -> None:
        landmarks = folders_of(spec)[:-1]
        self._put_finished(landmarks)
        now = _time_of(spec.snapshot)
        if not now or now == self._seen[spec.id]:
            return
        # Finished meanwhile, if it is gone: then there is nothing to continue.
        with contextlib.suppress(FileNotFoundError), _held(spec.snapshot) as snapshot:
            self._put_finished(landmarks)  # one that was written since, before this snapshot
            if all(each.id in self._put for each in landmarks) or not is_past_landmark(spec, snapshot):
                self.store.put(snapshot, *snapshot_place(spec))
            self._seen[spec.id] = now

    def _put_finished(self, landmarks: Sequence[ProxySpec]) -> None:
        for each in landmarks:
            if each.id not in self._put and each.is_finished:
                self.store.put_missing(each.output)
                self._put.add(each.id)


def snapshot_place(spec: ProxySpec) -> tuple[str, str]:
    """Where a training's snapshot is in a store."""
    return spec.folder.name, spec.snapshot.name


def is_past_landmark(spec: ProxySpec, snapshot: Path) -> bool:
    """Whether a training that goes on from this snapshot no longer writes its landmark; also for a damaged one."""
    from safetensors import safe_open

    if spec.landmark is None:
        return False
    try:
        with safe_open(snapshot, framework="numpy") as file:
            return json.loads(file.metadata()["snapshot"])["taken"] >= spec.landmark
    except Exception:  # safetensors has errors of its own; whatever is wrong, it is of no use
        return True


@contextlib.contextmanager
def _held(snapshot: Path) -> Iterator[Path]:
    """The snapshot as it is now, under a name at which no newer one replaces it."""
    held = snapshot.with_name(f"{snapshot.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            os.link(snapshot, held)
        except FileNotFoundError:
            raise
        except OSError:  # a disk without hard links
            shutil.copyfile(snapshot, held)
        yield held
    finally:
        held.unlink(missing_ok=True)


def _time_of(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0
