"""Parts of a source: consecutive files that one task of an executor tokenizes, and what is there of them.

A part is a folder, complete or absent, named by the files it holds and kept under the fingerprint of all that its bytes
follow from. So a part that is there is done, whoever made it and in whatever run; no other marker counts.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from regmix_pipeline.addresses import without_credentials
from regmix_pipeline.documents.observe import states_of
from regmix_pipeline.documents.resolve import SourceFiles
from regmix_pipeline.errors import RegmixError, TokenError, error_from_payload
from regmix_pipeline.files import fingerprint, read_json, write_json
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.tokens.manifest import BYTES_OF, INDEX_ENTRY
from regmix_pipeline.tokens.split import DIGEST_BYTES, SplitName
from regmix_pipeline.tokens.tokenizer import TokenizerFile

PART_BYTES = 256_000_000
"""Bytes of files, as stored, for which a task of their own is worth its start."""
PART = "part.json"
PARTS = ".parts"
FAILED = ".failed.json"
DOCUMENT_ENTRY = DIGEST_BYTES + 8
"""Bytes of a document in a part's list: the digest of its text, and its length in UTF-8 bytes as uint64."""


class PartSplit(Settings):
    """One split of a part."""

    documents: int
    tokens: int
    bytes: int
    """UTF-8 bytes of the documents' text."""


class PartCounts(Settings):
    """What `part.json` holds."""

    splits: dict[str, PartSplit]
    duplicates: int
    """Documents dropped because their text had been read before in this part."""
    without_text: int


class PartTask(Settings):
    """One task of an executor: files to read and the part to make of them."""

    name: str
    """The domain or target."""
    source: Source
    files: tuple[str, ...]
    states: tuple[tuple[str | int, ...], ...]
    """Address, size and time of each file when the task was stated."""
    local: bool
    """Whether files are paths, or places on the file system of the source's address."""
    tokenizer: TokenizerFile
    splits: tuple[SplitName, ...]
    seed: int
    validation_fraction: float
    cpus: int
    """Cores that the tokenizer uses."""
    output: Path
    """The part's folder."""

    @property
    def failure(self) -> Path:
        """Where the task says why there is no part."""
        return self.output.with_name(self.output.name + FAILED)

    def source_files(self) -> SourceFiles:
        """The files, on the worker's own file system."""
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        fs = LocalFileSystem() if self.local else url_to_fs(self.source.address)[0]
        return SourceFiles(fs, self.files, self.local)

    def label(self) -> str:
        """What a person would call it."""
        first = without_credentials(self.files[0])
        more = f" and {len(self.files) - 1} files after it" if len(self.files) > 1 else ""
        return f"{self.name}, {first}{more}"


def divided(sizes: Sequence[int], parts: int) -> list[range]:
    """Divide files into at most ``parts`` runs of consecutive ones, of about equal size and none without a file.

    Args:
        sizes: bytes of each file, in reading order.
        parts: how many runs are asked for.
    """
    # A byte more each, so that empty files have a place as well.
    whole, before, groups = sum(sizes) + len(sizes), 0, [0] * len(sizes)
    for index, size in enumerate(sizes):
        groups[index] = (2 * before + size + 1) * parts // (2 * whole)
        before += size + 1
    starts = [index for index in range(len(sizes)) if index == 0 or groups[index] != groups[index - 1]]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(sizes)], strict=True)]


def part_count(source: Source, sizes: Sequence[int], tasks: int | None) -> int:
    """How many parts a source is read in.

    One where the source is limited: limits count in reading order, and beyond them nothing may be read, neither for
    the work it takes nor for the errors it may hold.
    """
    if source.max_documents is not None or source.max_bytes is not None:
        return 1
    return min(len(sizes), tasks or max(1, math.ceil(sum(sizes) / PART_BYTES)))


def parts_folder(shard: Path, states: Sequence[Sequence[Any]]) -> Path:
    """The folder of a shard's parts. Other files behind the same version, moved or written again, have another one."""
    return shard.parent / PARTS / fingerprint("parts", shard.name, states)


def states(files: SourceFiles) -> tuple[tuple[str | int, ...], ...]:
    """Address, size and time of each file. Not its inode, which machines that share a disk may see differently."""
    return tuple(tuple(state[:3]) for state in states_of(files))


def name_of(files: range) -> str:
    """Name of the part of these files, by their numbers in reading order."""
    return f"{files.start:06d}-{files.stop - 1:06d}"


def listed(folder: Path) -> set[str]:
    """Names in a folder of parts; empty where there is none.

    The folder is read, rather than each part asked for: on a network disk only that sees what others just wrote.
    """
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def intact_part(folder: Path, dtype: str) -> PartCounts | None:
    """What a part's `part.json` says; None where the part is absent or its files have other sizes."""
    try:
        counts = PartCounts.model_validate_json((folder / PART).read_bytes())
        sizes = {
            folder / f"{split}{suffix}": count * each
            for split, held in counts.splits.items()
            for suffix, count, each in (
                (".ds", held.tokens, BYTES_OF[dtype]),
                (".ds.index", held.documents, INDEX_ENTRY),
                (".documents", held.documents, DOCUMENT_ENTRY),
            )
        }
        return counts if all(path.stat().st_size == size for path, size in sizes.items()) else None
    except (OSError, ValidationError):
        return None


def write_failure(task: PartTask, error: Exception) -> None:
    """Leave word of an error for whoever waits for the part."""
    if not isinstance(error, RegmixError):
        error = TokenError(
            f"{type(error).__name__}: {error}",
            where=task.label(),
            remedy="if memory ran out, give a task more of it; if the disk is full, free space; run again",
        )
    write_json(task.failure, error.payload)


def read_failure(path: Path) -> RegmixError:
    """The error that `write_failure` left."""
    return error_from_payload(read_json(path), TokenError)


def without_training_sample(tokenizer: TokenizerFile) -> TokenizerFile:
    """The same tokenizer, without what it was trained on, which no task needs."""
    return dataclasses.replace(tokenizer, path=tokenizer.path.resolve(), trained_on=None)
