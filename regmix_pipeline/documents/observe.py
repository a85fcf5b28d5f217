"""The data version of a source: a fingerprint of what is in its files, whatever they are called and however old."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from regmix_pipeline.documents.resolve import SourceFiles, resolve
from regmix_pipeline.documents.settings import Source
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import fingerprint, read_json, sha256_of, write_json
from regmix_pipeline.progress import Say, to_stderr

CHECKSUM_FILE = "checksums.json"
ETAGS = ("etag", "md5hash", "content_md5", "crc32c")
"""Names under which object stores give a checksum of a file's content, in lower case."""
TOO_FRESH = 2.0
"""Seconds since the last write within which a checksum is not remembered: another write may leave the same time."""
THREADS = 4


@dataclass(frozen=True)
class ObservedFile:
    """One file of a source."""

    path: str
    bytes: int
    checksum: str
    """``sha256:...`` of the content, or ``etag:...`` where an object store vouches for it."""


@dataclass(frozen=True)
class Observation:
    """What a source holds now."""

    version: str
    """Data version: 16 hex digits; equal text read in equal order gives equal versions."""
    files: tuple[ObservedFile, ...]
    """In reading order."""
    label: str

    @property
    def bytes(self) -> int:
        """Size of all files as stored, compressed or not."""
        return sum(file.bytes for file in self.files)


def observe(source: Source, base: Path, data_folder: Path, say: Say = to_stderr) -> Observation:
    """Observe ``source``: its files, their checksums and the version that follows from them.

    The version depends on the contents of the files in reading order and on the settings that change what is read
    (`Source.reading`), not on times nor on the names of files and folders. SHA-256 sums of local files are remembered
    in ``data_folder/checksums.json`` by path, size, modification time and inode.

    Raises:
        DocumentError: as `resolve`, or a file cannot be read.
    """
    files = resolve(source, base, data_folder, say)
    checksums = _local_checksums(files, data_folder) if files.local else [_remote(files, path) for path in files.paths]
    observed = tuple(
        ObservedFile(files.address(path), size, checksum)
        for path, (size, checksum) in zip(files.paths, checksums, strict=True)
    )
    version = fingerprint("documents", [file.checksum for file in observed], source.reading())
    return Observation(version, observed, source.label())


def _local_checksums(files: SourceFiles, data_folder: Path) -> list[tuple[int, str]]:
    store = data_folder / CHECKSUM_FILE
    known = _remembered(store)
    with ThreadPoolExecutor(THREADS) as pool:
        sums = list(pool.map(lambda path: _local_sum(path, known), files.paths))
    news = {path: entry for path, (_, _, entry) in zip(files.paths, sums, strict=True) if entry != known.get(path)}
    if news:
        # Read again: another process may have added its own since; a lost entry only costs another hashing.
        kept = {path: entry for path, entry in (_remembered(store) | news).items() if entry}
        write_json(store, kept)
    return [(size, checksum) for size, checksum, _ in sums]


def _remembered(store: Path) -> dict[str, Any]:
    try:
        known = read_json(store)
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known if isinstance(known, dict) else {}


def _local_sum(path: str, known: dict[str, Any]) -> tuple[int, str, list[Any] | None]:
    """(size, checksum, entry to remember or None)."""
    try:
        before = os.stat(path)
        key = [before.st_size, before.st_mtime_ns, before.st_ino]
        entry = known.get(path)
        if isinstance(entry, list) and entry[:3] == key:
            return before.st_size, f"sha256:{entry[3]}", entry
        digest = sha256_of(path)
        after = os.stat(path)
    except OSError as error:
        raise DocumentError(
            f"cannot be read: {error.strerror}", where=path, remedy="check that it exists and may be read"
        ) from error
    settled = key == [after.st_size, after.st_mtime_ns, after.st_ino] and time.time() - after.st_mtime > TOO_FRESH
    return after.st_size, f"sha256:{digest}", [*key, digest] if settled else None


def _remote(files: SourceFiles, path: str) -> tuple[int, str]:
    """(size, checksum): the store's own checksum where it keeps one, else the content is read."""
    try:
        info = {str(key).lower(): value for key, value in files.fs.info(path).items()}
        size = int(info.get("size") or 0)
        for name in ETAGS:
            if info.get(name):
                return size, f"etag:{size}:{str(info[name]).strip(chr(34))}"
        digest = hashlib.sha256()
        with cast("IO[bytes]", files.fs.open(path, "rb")) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except Exception as error:  # every file system raises errors of its own
        raise DocumentError(
            f"cannot be read: {error}", where=files.address(path), remedy="check credentials and network"
        ) from error
    return size, f"sha256:{digest.hexdigest()}"
