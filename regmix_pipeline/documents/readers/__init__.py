"""Readers of documents: datatrove's, but a damaged file or line is an error instead of a warning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regmix_pipeline.documents.catalogue import READERS
from regmix_pipeline.documents.resolve import SourceFiles, resolve
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.settings.documents import Source

if TYPE_CHECKING:
    from regmix_pipeline.documents.readers.base import StrictReader


def reader(source: Source, base: Path, data_folder: Path, say: Say = to_stderr) -> StrictReader:
    """The datatrove reader of ``source``: a pipeline step; called without arguments it yields the documents.

    Files are read in the order of their paths; limits count in that order. Documents whose text is only white space are
    left out and counted in ``.without_text``.

    Raises:
        DocumentError: at once as `resolve`; while reading, with ``file:line`` (or ``file:row``), for malformed JSON,
            a missing or non-string text field, bytes that are not UTF-8, and truncated or damaged files.
    """
    return reader_of(resolve(source, base, data_folder, say), source)


def reader_of(files: SourceFiles, source: Source) -> StrictReader:
    """As `reader`, of these files alone: all of the source's, or some of them."""
    return READERS[source.file_kind](
        files,
        text_field=source.text_field,
        id_field=source.id_field,
        max_documents=source.max_documents,
        max_bytes=source.max_bytes,
    )
