"""Files that are complete or absent, and fingerprints of what is in them.

Every artefact is written beside its final name, flushed to disk and renamed, so a process killed at any moment leaves
either the old file or the new one (law 3: files are the truth, the ledger is their index).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import DamagedError

ID_LENGTH = 16
"""Hex digits kept of a SHA-256: 64 bits, one collision expected in about 4 billion things of a kind."""


# Encoders are made once: ids and records by the thousand would make as many.
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
).encode
_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused."""
    return _CANONICAL(value)


def json_by_lines(value: Mapping[str, Any]) -> str:
    """JSON of an object with a line for each of its fields: readable, and made by the encoder in C, which indents
    nothing. NaN is refused."""
    return "{\n" + ",\n".join(f"  {_PLAIN(str(name))}: {_PLAIN(item)}" for name, item in value.items()) + "\n}\n"


def fingerprint(*parts: Any) -> str:
    """Content id of JSON-able values: the first 16 hex digits of the SHA-256 of their canonical JSON."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:ID_LENGTH]


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    _fsync(folder, os.O_RDONLY)


def _fsync(path: Path, mode: int = os.O_RDWR) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    # The real suffix stays last: writers such as Polars and DuckDB look at it.
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")


def _readable_as_usual(paths: Iterable[Path]) -> None:
    """Give files the permissions that new files have here: some libraries write for their own user alone."""
    # The system call that tells the umask sets it, for all threads.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    usual = 0o666 & ~int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    for path in paths:
        if path.stat().st_mode & 0o777 != usual:
            path.chmod(usual)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success flush it and rename it to ``path``, on error delete it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _readable_as_usual([temporary])
        _fsync(temporary)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_together(contents: Mapping[Path, bytes], first: Mapping[Path, Path] | None = None) -> None:
    """Write small files as `written_atomically` does, each complete or absent, with one pass of flushes for all of
    them.

    No file has its name before the bytes of all are on disk, and their names are on disk when this returns. The first
    flush of many takes most of the others along, so that thousands of files do not wait for the disk one by one.

    Args:
        contents: path -> bytes.
        first: path -> a further name, which its file has on disk before it has its own; see `link_together`.
    """
    flushed = _present({path.parent for path in contents})
    temporaries = {path: _temporary(path) for path in contents}
    try:
        for path, content in contents.items():
            temporaries[path].write_bytes(content)
        for temporary in temporaries.values():
            _fsync(temporary)
        link_together({name: temporaries[path] for path, name in (first or {}).items()})
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
        for folder in flushed:
            fsync_folder(folder)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def link_together(names: Mapping[Path, Path]) -> None:
    """Give files that are on disk further names, new name -> file; what had the name gives way.

    A name shares the file's bytes: for files that are replaced, never written into. Where the file system has no
    links, a copy takes its place.
    """
    flushed = _present({name.parent for name in names})
    for name, file in names.items():
        temporary = _temporary(name)
        try:
            try:
                os.link(file, temporary)
            except OSError:
                shutil.copyfile(file, temporary)
                _fsync(temporary)
            os.replace(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)
    for folder in flushed:
        fsync_folder(folder)


def _present(folders: Iterable[Path]) -> list[Path]:
    """Make folders that are missing; returns all of them, and the ones that hold the new, to be flushed."""
    flushed = dict.fromkeys(folders)
    for folder in list(flushed):
        while not folder.is_dir():
            flushed[folder := folder.parent] = None
    for folder in list(flushed):
        folder.mkdir(parents=True, exist_ok=True)
    return list(flushed)


@contextmanager
def folder_written_atomically(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder; on success flush its files and rename it to ``folder``, on error delete it.

    A ``folder`` that exists already is kept (same id, same bytes), but for files it lacks, which are put in.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        files = [path for path in temporary.rglob("*") if path.is_file()]
        _readable_as_usual(files)
        for path in files:
            _fsync(path)
        fsync_folder(temporary)
        try:
            os.rename(temporary, folder)
        except OSError:
            # It was made before, or by another process meanwhile: rename refuses a non-empty target.
            if not folder.is_dir():
                raise
            for path in sorted(temporary.rglob("*")):
                place = folder / path.relative_to(temporary)
                if path.is_file() and not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, place)
        fsync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def json_text(value: Any) -> str:
    """Readable JSON, as `write_json` writes it. NaN is refused, as JSON has none."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `json_text` atomically."""
    with written_atomically(path) as temporary:
        temporary.write_text(json_text(value), encoding="utf-8")


def read_json(path: Path, remedy: str = "delete it: `regmix run` makes it again") -> Any:
    """Read JSON; a missing file raises FileNotFoundError.

    Args:
        path: the file.
        remedy: what to do if it is damaged.

    Raises:
        DamagedError: the file holds no JSON. It is a ValueError as well.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problem = f"is damaged: {error}" if path.stat().st_size else "is damaged: it is empty"
        raise DamagedError(problem, where=str(path), remedy=remedy) from None


def damage_of(path: Path) -> str:
    """What is wrong with a file of the home that was cut short or overwritten by rubbish; "" if nothing can be seen.

    JSON and Parquet files are parsed; of others only the empty one is known to be damaged.
    """
    try:
        if path.stat().st_size == 0:
            return "is damaged: it is empty"
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                file.read()
    except FileNotFoundError:
        return "is missing"
    except DamagedError as error:
        return error.problem
    except (ValueError, OSError) as error:  # pyarrow's own errors are these
        return f"is damaged: {' '.join(str(error).split())[:200]}"
    return ""
