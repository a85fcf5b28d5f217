"""Which domains a folder holds: its sub-folders and its own files, of the kinds that the readers open."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from regmix_pipeline.documents.catalogue import ENDINGS, kind_of_file
from regmix_pipeline.documents.resolve import remote_file_system
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source, safe_name


@dataclass(frozen=True)
class FoundDomain:
    """A domain that a folder holds.

    Attributes:
        name: as the study will call it.
        kind: how it is read.
        pattern: its files, from the folder that the study file will lie in; absolute when the data lie elsewhere.
        files: paths in reading order.
    """

    name: str
    kind: str
    pattern: str
    files: tuple[Path, ...]

    @property
    def disk_bytes(self) -> int:
        """Size of the files as they are, compressed or not."""
        return sum(path.stat().st_size for path in self.files)

    def source(self, text_field: str = "text") -> Source:
        """The source that the study file names."""
        return Source.model_validate({self.kind: self.pattern, "text_field": text_field})


def place_of(address: str) -> Path:
    """A folder of data, on a disk or in a store: the latter is a path of universal_pathlib, which does as Path does."""
    if "://" not in address:
        return Path(address).resolve()
    from upath import UPath

    with remote_file_system(address, address):
        return cast("Path", UPath(address.rstrip("/")))


def is_remote(path: Path) -> bool:
    """Whether a path is of a store."""
    return "://" in str(path)


def found_domains(folder: Path, base: Path) -> tuple[list[FoundDomain], list[str]]:
    """The domains of ``folder``, sorted by name, and what the user must know of what was left out.

    Args:
        folder: sub-folders are domains with all readable files under them; files of its own are a domain each.
        base: folder of the study file.

    Raises:
        DocumentError: no such folder, fewer than two domains, or two of the same name.
    """
    if not folder.is_dir():
        raise DocumentError("no such folder", where=str(folder), remedy="give the folder that holds the data")
    domains: list[FoundDomain] = []
    left_out: list[str] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        files = _files(entry)
        kinds = {kind for kind in map(kind_of, files) if kind is not None}
        unread = [path for path in files if kind_of(path) is None]
        if unread:
            left_out.append(_unreadable(entry, unread))
        # Where a folder holds several kinds, the one with the most bytes is taken.
        sizes = {kind: sum(path.stat().st_size for path in files if kind_of(path) == kind) for kind in kinds}
        if not sizes or not max(sizes.values()):
            left_out += [f"{entry.name}: empty"] if sizes or not files else []
            continue
        taken = max(sizes, key=lambda each: sizes[each])
        if len(sizes) > 1:
            left_out.append(f"{entry.name}: holds {' and '.join(sorted(sizes))} files; only the {taken} files are read")
        domains.append(_domain(entry, taken, [path for path in files if kind_of(path) == taken], base))
    _check(domains, folder, left_out)
    return domains, left_out


def kind_of(path: Path) -> str | None:
    """How a file is read; None for one that is not."""
    return kind_of_file(path.name)


def domain_name(entry: Path) -> str:
    """A file's or folder's name as a domain may be called: lower case, digits, underscores; endings dropped."""
    stem = entry.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if entry.is_file() and stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    return safe_name(stem) or "domain"


def _files(entry: Path) -> list[Path]:
    if entry.is_file():
        return [entry]
    inside = (path for path in entry.rglob("*") if path.is_file())
    return sorted(path for path in inside if not any(_hidden(part) for part in path.relative_to(entry).parts))


def _hidden(part: str) -> bool:
    return part.startswith((".", "_"))


def _domain(entry: Path, kind: str, files: Sequence[Path], base: Path) -> FoundDomain:
    if is_remote(entry):
        address, near = entry, False
    else:
        address = Path(os.path.abspath(entry))
        near = address.is_relative_to(base)
    # Data beside the study file move with it; data elsewhere are named in full.
    shown = glob.escape(str(address.relative_to(base) if near else address))
    if entry.is_file():
        # A literal name is tried before it is taken for a pattern, so it needs no escape.
        return FoundDomain(domain_name(entry), kind, str(address.relative_to(base) if near else address), tuple(files))
    endings = sorted({_ending(path) for path in files})
    ending = endings[0] if len(endings) == 1 else f".{endings[0].split('.')[1]}*"
    deep = "" if all(path.parent == entry for path in files) else "**/"
    return FoundDomain(domain_name(entry), kind, f"{shown}/{deep}*{ending}", tuple(files))


def _ending(path: Path) -> str:
    ending = next(each for each in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(each))
    return path.name[-len(ending) :]


def _unreadable(entry: Path, files: Sequence[Path]) -> str:
    endings = sorted({"".join(path.suffixes[-2:]) or "no ending" for path in files})[:4]
    hint = '; write each text as a line {"text": ...} of a .jsonl file' if ".txt" in endings else ""
    files_are = "1 file is" if len(files) == 1 else f"{len(files):,} files are"
    return f"{entry.name}: {files_are} not read ({', '.join(endings)}){hint}"


def _check(domains: Sequence[FoundDomain], folder: Path, left_out: Sequence[str]) -> None:
    names = [domain.name for domain in domains]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DocumentError(
            f"two entries would both be the domain {twice[0]!r}", where=str(folder), remedy="rename one of them"
        )
    if len(domains) < 2:
        seen = f" (left out: {'; '.join(left_out)})" if left_out else ""
        raise DocumentError(
            f"holds {len(domains) or 'no'} domain that can be read, and a mixture needs two{seen}",
            where=str(folder),
            remedy=f"give a folder with a sub-folder or a file per domain, of {', '.join(ENDINGS)}",
        )
