"""What datatrove's executors run: read a part's files, drop duplicates, tokenize. Imported by tasks only."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from regmix_pipeline.documents.readers import reader_of
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import folder_written_atomically, write_json
from regmix_pipeline.tokens.executors import task_path
from regmix_pipeline.tokens.parts import FAILED, PART, PartCounts, PartSplit, PartTask, listed, states, write_failure
from regmix_pipeline.tokens.steps import DropDuplicates, SplitTokenizer
from regmix_pipeline.tokens.tokenizer import tokenizer_version


def part_pipeline(tasks: Path) -> list[PipelineStep]:
    """The pipeline whose task of rank n makes the part that ``tasks`` states as number n."""
    read, drop = ReadPart(tasks), DropDuplicates()
    return [read, drop, TokenizePart(tasks, read, drop)]


def read_task(tasks: Path, rank: int) -> PartTask:
    """The task of a rank."""
    return PartTask.model_validate_json(task_path(tasks, rank).read_bytes())


class ReadPart(PipelineStep):
    """Read the documents of a part's files with the source's strict reader."""

    name = "strict reader of a part's files"
    type = "reader"

    def __init__(self, tasks: Path) -> None:
        super().__init__()
        self.tasks = tasks
        self.without_text = 0

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents.

        Raises:
            DocumentError: damaged documents, with file and line; files that are not what the task was stated for.
        """
        task = read_task(self.tasks, rank)
        files = task.source_files()
        _check_unchanged(task)
        reader = reader_of(files, task.source)
        yield from reader.run()
        self.without_text = reader.without_text
        _check_unchanged(task)


class TokenizePart(PipelineStep):
    """Write a part, or why there is none.

    An error ends the part and not the executor, which would take the parts of other sources along.

    Args:
        tasks: folder of the tasks.
        read: the step that reads, for its count of documents without text.
        drop: the step that drops duplicates, for its count.
    """

    name = "tokenize a part"
    type = "tokenizer"

    def __init__(self, tasks: Path, read: ReadPart, drop: DropDuplicates) -> None:
        super().__init__()
        self.tasks, self.read, self.drop = tasks, read, drop

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Make the part of this rank, unless it is there or another part of its source has failed."""
        task = read_task(self.tasks, rank)
        there = listed(task.output.parent)
        if task.output.name in there or any(name.endswith(FAILED) for name in there):
            logger.info(f"{task.label()}: nothing to do")
            return
        # Executors run as many tasks as there are cores; each tokenizer would start as many threads again.
        os.environ["RAYON_NUM_THREADS"] = str(task.cpus)
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if task.cpus > 1 else "false"
        try:
            self._make(task, data)
        except Exception as error:
            logger.exception(error)
            write_failure(task, error)

    def _make(self, task: PartTask, data: Any) -> None:
        if tokenizer_version(task.tokenizer.path) != task.tokenizer.version:
            raise TokenError(
                "this machine has another tokenizer under the same path",
                where=str(task.tokenizer.path),
                remedy="put the tokenizer on a disk that all machines share",
            )
        with folder_written_atomically(task.output) as temporary:
            write = SplitTokenizer(
                temporary, task.tokenizer, task.splits, task.seed, task.validation_fraction, list_documents=True
            )
            write.run(data)
            splits = {
                split: PartSplit(documents=write.documents[split], tokens=write.tokens[split], bytes=write.bytes[split])
                for split in task.splits
            }
            counts = PartCounts(splits=splits, duplicates=self.drop.duplicates, without_text=self.read.without_text)
            write_json(temporary / PART, counts.model_dump())


def _check_unchanged(task: PartTask) -> None:
    for found, stated in zip(states(task.source_files()), task.states, strict=True):
        if found != stated:
            raise DocumentError(
                "the file has changed since the run began, or this machine sees another one",
                where=f"{task.name}, {stated[0]}",
                remedy="run again once nothing writes to it any more; it must be on a disk that all machines share",
            )
