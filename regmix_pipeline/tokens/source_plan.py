"""A source to make a shard of: its files, the parts they are read in, and what is there of those."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regmix_pipeline.documents.resolve import SourceFiles
from regmix_pipeline.errors import DocumentError, RegmixError, TokenError
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings
from regmix_pipeline.tokens.executors import Execution
from regmix_pipeline.tokens.manifest import Role
from regmix_pipeline.tokens.parts import (
    FAILED,
    PART_BYTES,
    PartTask,
    divided,
    intact_part,
    listed,
    name_of,
    part_count,
    parts_folder,
    read_failure,
    states,
)
from regmix_pipeline.tokens.shards import SPLITS
from regmix_pipeline.tokens.tokenizer import TokenizerFile


class PartError(TokenError):
    """A part was not made, through no fault of the documents: the other parts stay for the next run."""


@dataclass(frozen=True)
class ShardRequest:
    """A source to make a shard of.

    Attributes:
        name: safe name of the domain or target.
        source: where its documents are.
        role: ``domain`` for both splits, ``target`` for a set that is only evaluated on.
        documents_version: version that `observe` gave.
    """

    name: str
    source: Source
    role: Role
    documents_version: str


@dataclass(frozen=True)
class SourcePlan:
    """How a source is read.

    Attributes:
        request: the source.
        shard: folder of the shard.
        files: the source's files.
        states: address, size and time of each.
        folder: folder of the parts.
        parts: each part's folder and the numbers of its files, in reading order.
    """

    request: ShardRequest
    shard: Path
    files: SourceFiles
    states: tuple[tuple[str | int, ...], ...]
    folder: Path
    parts: dict[Path, range]

    @property
    def bytes(self) -> int:
        """Bytes to read, as far as they are known."""
        held = sum(int(size) for _, size, *_ in self.states)
        return min(held, self.request.source.max_bytes or held)

    def not_there(self) -> list[Path]:
        """The parts that are not there."""
        there = listed(self.folder)
        return [part for part in self.parts if part.name not in there]

    def tasks(self, tokenizer: TokenizerFile, settings: ShardSettings, cpus: int) -> Iterator[PartTask]:
        """Tasks for the parts that are not there; damaged ones, and those of former versions, are removed."""
        for other in self.folder.parent.iterdir() if self.folder.parent.is_dir() else ():
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        self._forget_failures()
        for part, files in self.parts.items():
            if intact_part(part, tokenizer.dtype) is not None:
                continue
            shutil.rmtree(part, ignore_errors=True)
            yield PartTask(
                name=self.request.name,
                source=self.request.source,
                files=tuple(self.files.paths[index] for index in files),
                states=tuple(self.states[index] for index in files),
                local=self.files.local,
                tokenizer=tokenizer,
                splits=SPLITS[self.request.role],
                seed=settings.seed,
                validation_fraction=settings.validation_fraction,
                cpus=cpus,
                output=part,
            )

    def failure(self, tasks: Sequence[PartTask], execution: Execution | None) -> RegmixError:
        """Why the parts are not all there: the error of the first that left one, or how its task ended."""
        failures = sorted(name for name in listed(self.folder) if name.endswith(FAILED))
        if failures:
            error = read_failure(self.folder / failures[0])
            documents = isinstance(error, DocumentError)
            return error if documents else PartError(error.problem, where=error.where, remedy=error.remedy)
        missing = self.not_there()
        rank = next((rank for rank, task in enumerate(tasks) if task.output in missing), None)
        if rank is None or execution is None:
            return PartError("a part was removed meanwhile", where=self.request.name, remedy="run again")
        return PartError(
            f"{len(missing)} of {len(self.parts)} parts were not made: {execution.death_of(rank)}",
            where=tasks[rank].label(),
            remedy="run again: parts that are there are kept. If memory or time ran out, change shards.executor. "
            f"The logs are in {execution.folder}",
        )

    def clean(self, *, keep: bool) -> None:
        """Remove the parts, unless they are kept for the next run; word of failures; and folders that are empty."""
        self._forget_failures()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.folder, self.folder.parent, self.shard.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _forget_failures(self) -> None:
        for name in listed(self.folder):
            if name.endswith(FAILED):
                (self.folder / name).unlink()


def source_plan(request: ShardRequest, shard: Path, files: SourceFiles, tasks: int | None) -> SourcePlan:
    """Divide a source's files into parts: as many as ``tasks`` says, or as their size asks for."""
    found = states(files)
    sizes = [int(size) for _, size, *_ in found]
    folder = parts_folder(shard, found)
    parts = {folder / name_of(files): files for files in divided(sizes, part_count(request.source, sizes, tasks))}
    return SourcePlan(request, shard, files, found, folder, parts)


def needs_executor(plans: Sequence[SourcePlan], executor: ExecutorSettings) -> bool:
    """Whether an executor is started: not for what this process has read by the time that one has begun."""
    if executor.tasks is None and sum(plan.bytes for plan in plans) <= PART_BYTES:
        return False
    return executor.kind != "local" or sum(len(plan.parts) for plan in plans) > 1
