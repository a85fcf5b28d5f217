"""A watched address: every folder under it is a domain, named after it, once it has stopped changing."""

from __future__ import annotations

import glob
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regmix_pipeline.addresses import local_path
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import fingerprint, read_json, write_json
from regmix_pipeline.study.settings.documents import Source, check_name
from regmix_pipeline.study.settings.watch import WatchSettings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHANGED = ("mtime", "created", "lastmodified", "last_modified", "updated", "modified")
"""Names under which file systems say when a file changed, in lower case; locally ``created`` is the inode's time, which
no copy can set back."""


@dataclass(frozen=True)
class WatchScan:
    """What one look at the watched address found.

    Attributes:
        domains: folders that are domains now, sorted.
        waiting: folder -> why it does not count yet, or still does.
        refused: folder -> why it cannot be a domain, and what to do.
    """

    domains: tuple[str, ...] = ()
    waiting: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """What the user should know of folders that are not domains, one line each."""
        refused = [f"{name}: not taken: {why}" for name, why in self.refused.items()]
        return refused + [f"{name}: {why}" for name, why in self.waiting.items()]


@dataclass(frozen=True)
class _Folder:
    """One folder: a mark of all that is in it, "" where nothing is, and when that last changed (None: unknown)."""

    mark: str = ""
    newest: float | None = None
    problem: str = ""


def scan(
    watch: WatchSettings, base: Path, known: Collection[str], taken: Collection[str], clock: Path, settle_seconds: float
) -> WatchScan:
    """List the watched address and say which of its folders are domains.

    A folder becomes a domain once it holds text and has been still for ``settle_seconds``, and ceases to be one once it
    has been gone or empty for as long; in between what was known holds.

    Args:
        watch: the address.
        base: folder that a relative address starts at.
        known: folders that are domains so far.
        taken: names that the study file has given to sources of its own.
        clock: JSON file that remembers since when each folder has been as it is.
        settle_seconds: see above.

    Raises:
        DocumentError: the address cannot be listed. Nothing is concluded then: a store out of reach withdraws nothing.
    """
    found = dict(_folders(watch, base))
    now = time.time()
    seen = _remembered(clock)
    domains, waiting, refused, marks = [], {}, {}, {}
    for name in sorted({*found, *known}):
        problem = _refusal(name, taken)
        if problem:
            refused[name] = problem
            continue
        folder = found.get(name, _Folder())
        since = seen[name][1] if name in seen and seen[name][0] == folder.mark else now
        if folder.newest is not None and folder.newest < since:
            since = folder.newest
        marks[name] = [folder.mark, since]
        still = now - since >= settle_seconds
        if folder.mark and name not in known and (folder.problem or not still):
            waiting[name] = folder.problem or f"changed {now - since:.0f} s ago, counts after {settle_seconds:g} s"
        elif folder.mark:
            domains.append(name)
        elif name not in known:
            waiting[name] = "is empty"
        elif not still:
            domains.append(name)
            what = "empty" if name in found else "gone"
            waiting[name] = f"{what} for {now - since:.0f} s, withdrawn after {settle_seconds:g} s"
    if marks != seen:
        write_json(clock, marks)
    return WatchScan(tuple(domains), waiting, refused)


def _refusal(name: str, taken: Collection[str]) -> str:
    try:
        check_name(name)
    except ValueError as error:
        return f"{error}; rename the folder"
    return "the study file has a source of this name; rename the folder" if name in taken else ""


def _folders(watch: WatchSettings, base: Path) -> Iterator[tuple[str, _Folder]]:
    """Every folder under the address by name; hidden ones, whose names begin with . or _, are left out."""
    try:
        fs, root = _file_system(watch, base)
        fs.invalidate_cache()
        entries = fs.ls(root, detail=True)
        for entry in entries:
            path = str(entry["name"]).rstrip("/")
            name = path.rsplit("/", 1)[-1]
            if entry["type"] == "directory" and name[:1] not in (".", "_") and path != root.rstrip("/"):
                yield name, _inside(fs, path, watch.source)
    except FileNotFoundError as error:
        raise DocumentError(
            "the watched folder does not exist",
            where=f"watch: {watch.address}",
            remedy="make it, or correct the address",
        ) from error
    except ImportError as error:
        raise DocumentError(
            f"this file system needs another package: {error}",
            where=f"watch: {watch.address}",
            remedy="pip install what is named here",
        ) from error
    except Exception as error:  # every file system raises errors of its own
        raise DocumentError(
            f"the address cannot be listed: {error}",
            where=f"watch: {watch.address}",
            remedy="check the address, the credentials and the network",
        ) from error


def _file_system(watch: WatchSettings, base: Path) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if watch.remote:
        return url_to_fs(watch.address)
    return LocalFileSystem(), local_path(watch.address, base)


def _inside(fs: AbstractFileSystem, path: str, source: Source) -> _Folder:
    """Everything in a folder counts for its mark: the temporary file of a copy that is under way changes it too."""
    files: dict[str, dict[str, Any]] = fs.find(path, detail=True)  # pyright: ignore[reportAssignmentType]
    if not any(info.get("size") for info in files.values()):
        return _Folder()
    times = [_changed(info) for info in files.values()]
    newest = None if None in times else max(time for time in times if time is not None)
    mark = fingerprint([[name, info.get("size"), str(_changed(info))] for name, info in sorted(files.items())])
    pattern = f"{glob.escape(path)}/{source.address}"
    problem = ""
    if not any(each in files for each in fs.glob(pattern)):
        names = ", ".join(sorted(name.rsplit("/", 1)[-1] for name in files)[:3])
        problem = f"holds no {source.address}, but {names}"
    return _Folder(mark, newest, problem)


def _changed(info: dict[str, Any]) -> float | None:
    """Seconds since 1970 at which a file last changed, as far as its file system knows."""
    times = []
    for key, value in info.items():
        if key.lower() in CHANGED and value is not None:
            if isinstance(value, datetime):
                times.append(value.timestamp())
            elif isinstance(value, int | float):
                times.append(float(value))
            else:
                try:
                    times.append(datetime.fromisoformat(str(value)).timestamp())
                except ValueError:
                    continue
    return max(times, default=None)


def _remembered(clock: Path) -> dict[str, list[Any]]:
    try:
        seen = read_json(clock)
    except (FileNotFoundError, ValueError):
        return {}
    return seen if isinstance(seen, dict) else {}
