"""The data version of a source: a fingerprint of what is in its files, whatever they are called and however old."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from regmix_pipeline.documents.corpora import corpus_path
from regmix_pipeline.documents.resolve import SourceFiles, resolve
from regmix_pipeline.documents.watch import CHANGED
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import fingerprint, read_json, sha256_of, write_json
from regmix_pipeline.hub import hub_problem
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.settings.documents import Source

CHECKSUM_FILE = "checksums.json"
ETAGS = ("etag", "md5hash", "content_md5", "crc32c")
"""Names under which object stores give a checksum of a file's content, in lower case."""
HUB_SUMS = {"xet_hash": "xet", "blob_id": "git"}
"""Names under which the Hugging Face Hub gives one, and what it is."""
TOO_FRESH = 2.0
"""Seconds since the last write within which a checksum is remembered for quick looks alone: another write may leave the
same time, so an observation reads the file again."""
FOR_LOOKS = "for quick looks"
"""Mark of such a checksum."""
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


def observe(
    source: Source, base: Path, data_folder: Path, say: Say = to_stderr, *, read_all: bool = False
) -> Observation:
    """Observe ``source``: its files, their checksums and the version that follows from them.

    The version depends on the contents of the files in reading order and on the settings that change what is read
    (`Source.reading`), not on times nor on the names of files and folders. SHA-256 sums of local files are remembered
    in ``data_folder/checksums.json`` by path, size, modification time and inode; ``read_all`` reads the files all the
    same, and so does every observation where a file was written a moment before.

    Raises:
        DocumentError: as `resolve`, or a file cannot be read.
    """
    files = resolve(source, base, data_folder, say)
    checksums = _local_checksums(files, data_folder, read_all) if files.local else _remote_checksums(files, data_folder)
    observed = tuple(
        ObservedFile(files.address(path), size, checksum)
        for path, (size, checksum) in zip(files.paths, checksums, strict=True)
    )
    return Observation(_version(source, [file.checksum for file in observed]), observed, source.label())


def version_by_listing(source: Source, base: Path, data_folder: Path) -> str | None:
    """The version that `observe` would find, derived from names, sizes and times; None where a file has to be read for
    it.

    Reads no file and fetches none: what a built-in corpus that was not fetched holds is unknown.

    Raises:
        DocumentError: as `resolve`.
    """
    if source.corpus is not None and not corpus_path(source.corpus, data_folder).is_file():
        return None
    files = resolve(source, base, data_folder)
    known = _remembered(data_folder / CHECKSUM_FILE)
    checksums = []
    for path in files.paths:
        if files.local:
            entry = known.get(path)
            checksum = f"sha256:{entry[3]}" if isinstance(entry, list) and entry[:3] == _key(_stat(path)) else None
        else:
            info = _info(files, path)
            checksum = _vouched(info)
            entry = known.get(files.address(path))
            if checksum is None and isinstance(entry, list) and entry[:3] == _remote_key(info):
                checksum = f"sha256:{entry[3]}"
        if checksum is None:
            return None
        checksums.append(checksum)
    return _version(source, checksums)


def names_sizes_times(source: Source, base: Path, data_folder: Path) -> list[list[Any]]:
    """Path, size and time of every file of ``source``, in reading order: what distinguishes one state of it from
    another.

    Raises:
        DocumentError: as `resolve`.
    """
    return states_of(resolve(source, base, data_folder))


def states_of(files: SourceFiles) -> list[list[Any]]:
    """As `names_sizes_times`, of these files alone."""
    return [
        [files.address(path), *(_key(_stat(path)) if files.local else _remote_key(_info(files, path)))]
        for path in files.paths
    ]


def _version(source: Source, checksums: list[str]) -> str:
    return fingerprint("documents", checksums, source.reading())


def _local_checksums(files: SourceFiles, data_folder: Path, read_all: bool = False) -> list[tuple[int, str]]:
    store = data_folder / CHECKSUM_FILE
    known = {} if read_all else _remembered(store)
    with ThreadPoolExecutor(THREADS) as pool:
        sums = list(pool.map(lambda path: _local_sum(path, known), files.paths))
    _remember(store, {path: entry for path, (_, _, entry) in zip(files.paths, sums, strict=True)}, known)
    return [(size, checksum) for size, checksum, _ in sums]


def _remember(store: Path, entries: dict[str, list[Any] | None], known: dict[str, Any]) -> None:
    news = {path: entry for path, entry in entries.items() if entry != known.get(path)}
    if news:
        # Read again: another process may have added its own since; a lost entry only costs another hashing.
        # Whoever may only read the study, as for an audit, hashes again each time.
        with contextlib.suppress(OSError):
            write_json(store, {path: entry for path, entry in (_remembered(store) | news).items() if entry})


def _remembered(store: Path) -> dict[str, Any]:
    try:
        known = read_json(store)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _local_sum(path: str, known: dict[str, Any]) -> tuple[int, str, list[Any] | None]:
    """(size, checksum, entry to remember or None)."""
    before = _stat(path)
    entry = known.get(path)
    if isinstance(entry, list) and entry[:3] == _key(before) and FOR_LOOKS not in entry:
        return before.st_size, f"sha256:{entry[3]}", entry
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    after = _stat(path)
    if _key(before) != _key(after):
        return after.st_size, f"sha256:{digest}", None
    mark = [] if time.time() - after.st_mtime > TOO_FRESH else [FOR_LOOKS]
    return after.st_size, f"sha256:{digest}", [*_key(after), digest, *mark]


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _key(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _unreadable(path: str, error: OSError) -> DocumentError:
    return DocumentError(f"cannot be read: {error.strerror}", where=path, remedy="check that it exists and may be read")


def _remote_checksums(files: SourceFiles, data_folder: Path) -> list[tuple[int, str]]:
    """(size, checksum) of each file: the store's own checksum where it keeps one, else the content is read."""
    store = data_folder / CHECKSUM_FILE
    known = _remembered(store)
    sums, entries = [], {}
    for path in files.paths:
        info = _info(files, path)
        checksum = _vouched(info)
        if checksum is None:
            digest = _remote_digest(files, path)
            checksum = f"sha256:{digest}"
            # For quick looks alone: an observation reads the content again, since a store's times may be coarse.
            entries[files.address(path)] = [*_remote_key(info), digest]
        sums.append((int(info.get("size") or 0), checksum))
    _remember(store, entries, known)
    return sums


def _info(files: SourceFiles, path: str) -> dict[str, Any]:
    try:
        return {str(key).lower(): value for key, value in files.fs.info(path).items()}
    except Exception as error:  # every file system raises errors of its own
        raise _unreachable(files, path, error) from error


def _vouched(info: dict[str, Any]) -> str | None:
    """The checksum that a store keeps of a file's content. The Hugging Face Hub's of a large file is its SHA-256, as of
    a file on a disk; of a small one git's."""
    large = info.get("lfs")
    if large and large["sha256"]:
        return f"sha256:{large['sha256']}"
    for name, kind in HUB_SUMS.items():
        if info.get(name):
            return f"{kind}:{info[name]}"
    for name in ETAGS:
        if info.get(name):
            return f"etag:{int(info.get('size') or 0)}:{str(info[name]).strip(chr(34))}"
    return None


def _remote_key(info: dict[str, Any]) -> list[Any]:
    """Size and time of a remote file, in the three places that a local file's size, time and inode take."""
    times = [str(info[name]) for name in CHANGED if info.get(name) is not None]
    return [int(info.get("size") or 0), " ".join(times), 0]


def _remote_digest(files: SourceFiles, path: str) -> str:
    digest = hashlib.sha256()
    try:
        with cast("IO[bytes]", files.fs.open(path, "rb")) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except Exception as error:  # every file system raises errors of its own
        raise _unreachable(files, path, error) from error
    return digest.hexdigest()


def _unreachable(files: SourceFiles, path: str, error: Exception) -> DocumentError:
    problem, remedy = hub_problem(error) or (f"cannot be read: {error}", "check credentials and network")
    return DocumentError(problem, where=files.address(path), remedy=remedy)
