"""From a source to its files, in reading order: sorted by path."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from regmix_pipeline.addresses import local_path, without_credentials
from regmix_pipeline.documents.catalogue import FILE_KINDS, kind_of_file
from regmix_pipeline.documents.corpora import corpus_path, ensure
from regmix_pipeline.errors import DocumentError, RegmixError
from regmix_pipeline.hub import hub_problem
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.settings.documents import Source

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

UNREADABLE = {".bz2", ".xz", ".lzma", ".lz4", ".zip", ".br", ".snappy", ".7z", ".tar", ".tgz"}
"""Compressions and archives that no reader here opens."""
SHOWN = 5
"""Near misses named in an error."""


@dataclass(frozen=True)
class SourceFiles:
    """The files of one source, sorted by path, on one file system."""

    fs: AbstractFileSystem
    paths: tuple[str, ...]
    local: bool

    def address(self, path: str) -> str:
        """What a person would call the file: its path, or its address without credentials where it is not local."""
        return path if self.local else without_credentials(str(self.fs.unstrip_protocol(path)))


def resolve(source: Source, base: Path, data_folder: Path, say: Say = to_stderr) -> SourceFiles:
    """The files of ``source``; a built-in corpus is fetched and extracted first unless it is there.

    Args:
        source: the source.
        base: folder that relative globs start at (the study file's).
        data_folder: where the built-in corpora are kept.
        say: called with a line about what is fetched.

    Raises:
        DocumentError: nothing matches, all files are empty, or a file is of a kind that the source cannot read.
    """
    if source.corpus is not None:
        path = os.path.abspath(ensure(source.corpus, data_folder, say))
        return SourceFiles(_local_file_system(), (path,), local=True)
    if source.tokens is not None:
        from regmix_pipeline.documents.token_files import token_paths

        files = SourceFiles(_local_file_system(), tuple(token_paths(source, base)), local=True)
    elif source.remote:
        files = _on_file_system(source)
    else:
        files = SourceFiles(_local_file_system(), tuple(_local_matches(source, base)), local=True)
    if source.tokens is None:
        _check_kinds(source, files)
    if all(files.fs.size(path) == 0 for path in files.paths):
        raise DocumentError(
            f"{'all files are' if len(files.paths) > 1 else 'the file is'} empty",
            where=f"{source.kind}: {source.address}",
            remedy="give files with documents in them, or leave this source out",
        )
    return files


def uri_of(source: Source, base: Path, data_folder: Path) -> str:
    """Where the files of ``source`` are, as a URI without credentials; a glob stays one. Arguments as of `resolve`."""
    if source.remote:
        return without_credentials(source.address)
    path = corpus_path(source.corpus, data_folder) if source.corpus else local_path(source.address, base)
    return f"file://{quote(os.path.abspath(path), safe='/*')}"


def _local_file_system() -> AbstractFileSystem:
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem()


@contextmanager
def remote_file_system(address: str, where: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """The file system of an fsspec address, and the path on it; for listing it, inside the context.

    Raises:
        DocumentError: the file system needs a package that is not there, or what is done in the context fails.
    """
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(address)
        # Listings of an object store are kept for as long as the process lives, whatever others have put there since.
        fs.invalidate_cache()
        if "hf" in fs.protocol:
            fs.resolve_path(path)  # says that a repository is missing, which a listing takes for an empty one
        yield fs, path
    except RegmixError:
        raise
    except ImportError as error:
        raise DocumentError(
            f"this file system needs another package: {error}", where=where, remedy="pip install what is named here"
        ) from error
    except Exception as error:  # every file system raises errors of its own for refused or unreachable addresses
        problem, remedy = hub_problem(error) or (
            f"the address cannot be listed: {error}",
            "check the address, the credentials and the network",
        )
        raise DocumentError(problem, where=where, remedy=remedy) from error


def _on_file_system(source: Source) -> SourceFiles:
    from fsspec.implementations.local import LocalFileSystem

    where = f"{source.kind}: {source.address}"
    with remote_file_system(source.address, where) as (fs, path):
        # A literal name may hold brackets, so it is tried before it is taken for a glob.
        matches = [path] if fs.isfile(path) else sorted(fs.glob(path)) if glob.has_magic(path) else []
        found = [str(each) for each in matches if fs.isfile(each)]
    if not found:
        raise DocumentError("no file matches", where=where, remedy="check the address; a folder needs a glob after it")
    return SourceFiles(fs, tuple(found), local=isinstance(fs, LocalFileSystem))


def _local_matches(source: Source, base: Path) -> list[str]:
    pattern = os.path.expanduser(source.address)
    literal = local_path(source.address, base)
    if os.path.isfile(literal):
        return [literal]
    # root_dir keeps brackets in the base folder's own name from being taken for a pattern.
    matches = glob.glob(pattern, root_dir=base, recursive=True)
    found = sorted({os.path.abspath(base / match) for match in matches})
    files = [path for path in found if os.path.isfile(path)]
    if not files:
        problem, remedy = _near_misses(source, pattern, base)
        raise DocumentError(problem, where=f"{source.kind}: {source.address}", remedy=remedy)
    return files


def _near_misses(source: Source, pattern: str, base: Path) -> tuple[str, str]:
    """What to say when ``pattern`` matches no file: the first folder on its way that is not there, or what is there."""
    example = f"*.{source.kind}"
    whole = base / pattern
    if whole.is_dir():
        return f"{whole} is a folder", f"name its files: {pattern.rstrip('/')}/{example}"
    folder = base
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        if not (folder / part).is_dir():
            near = difflib.get_close_matches(part, [each for each in _names(folder) if (folder / each).is_dir()], n=1)
            hint = f"did you mean {near[0]}?" if near else "check the path; it starts at the study file's folder"
            return f"no file matches: the folder {folder / part} does not exist", hint
        folder = folder / part
    names = _names(folder)
    if not names:
        return f"no file matches: the folder {folder} is empty", "put the documents there or correct the path"
    near = difflib.get_close_matches(Path(pattern).name, names, n=SHOWN) or names[:SHOWN]
    more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
    return f"no file matches, but {folder} holds {', '.join(near)}{more}", "correct the pattern or rename the files"


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _check_kinds(source: Source, files: SourceFiles) -> None:
    for path in files.paths:
        suffix = Path(path).suffix.lower()
        if suffix in UNREADABLE:
            endings = FILE_KINDS[source.file_kind].endings
            jsonl = ".jsonl" in endings
            remedy = "decompress it, or compress it as .gz or .zst" if jsonl else f"give {' or '.join(endings)} files"
            raise DocumentError(f"{suffix} files cannot be read", where=files.address(path), remedy=remedy)
        if path.lower().endswith(FILE_KINDS[source.file_kind].endings):
            continue
        kind = kind_of_file(path) or source.file_kind
        if kind != source.file_kind:
            raise DocumentError(
                f"is a {suffix} file in a {source.kind} source",
                where=files.address(path),
                remedy=f"write `{kind}: {source.address}`, or narrow the pattern",
            )
