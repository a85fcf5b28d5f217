"""What every reader of documents shares. Imported only when documents are read."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

from datatrove.data import Document
from datatrove.pipeline.readers.base import BaseDiskReader

from regmix_pipeline.documents.resolve import SourceFiles
from regmix_pipeline.errors import DocumentError, RegmixError
from regmix_pipeline.hub import hub_problem


class StrictReader(BaseDiskReader):
    """The files are given, limits count documents and bytes in reading order."""

    def __init__(
        self,
        files: SourceFiles,
        *,
        text_field: str = "text",
        id_field: str = "id",
        max_documents: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        super().__init__(("/", files.fs), text_key=text_field, id_key=id_field)
        self.files = files
        self.max_documents = max_documents
        self.max_bytes = max_bytes
        self.without_text = 0

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents, after those of an earlier step if there is one.

        Raises:
            ValueError: with several tasks, as the limits and the removal of duplicates need one order of reading.
        """
        if world_size != 1:
            raise ValueError("documents of one source are read by one task: limits count in reading order")
        if data:
            yield from data
        self.without_text = documents = text_bytes = 0
        # Not read_files_shard: it logs every file to stderr and reads one document beyond a limit.
        for document in chain.from_iterable(map(self._read, self.files.paths)):
            if not document.text.strip():
                self.without_text += 1
                continue
            self.update_doc_stats(document)
            yield document
            documents += 1
            if documents == self.max_documents:
                return
            if self.max_bytes is not None:
                text_bytes += len(document.text.encode())
                if text_bytes >= self.max_bytes:
                    return

    def _read(self, path: str) -> Iterator[Document]:
        """As `read_file`, with a word for a store that is lost on the way."""
        try:
            yield from self.read_file(path)
        except RegmixError:
            raise
        except Exception as error:  # every store raises errors of its own
            if self.files.local:
                raise
            raise self.damaged(f"cannot be read: {error}", path, "", error) from error

    def document(self, record: dict[str, Any], path: str, place: str) -> Document:
        """The document of a record read from ``path`` at ``place``, such as ``17`` or ``row 17``."""
        text = record.get(self.text_key)
        if not isinstance(text, str):
            self.refuse_text(record, path, place)
        given = record.get(self.id_key)
        return Document(text=text, id=str(given) if given is not None else f"{path}:{place}")

    def damaged(self, problem: str, path: str, place: str, error: Exception) -> DocumentError:
        """The error of a file that ends too soon or holds something else, or that a store does not give."""
        problem, remedy = hub_problem(error) or (problem, "make or fetch the file again")
        return DocumentError(problem, where=":".join(filter(None, (self.files.address(path), place))), remedy=remedy)

    def refuse_text(self, record: dict[str, Any], path: str, place: str) -> NoReturn:
        """Raise what is wrong with a record's text."""
        if self.text_key in record:
            problem = f"the text field {self.text_key!r} holds {kind_of_value(record[self.text_key])}, not a string"
            remedy = "give every document a string, or leave those without text out"
        else:
            problem = f"there is no text field {self.text_key!r}; the fields are {listed(record)}"
            remedy = "set text_field to the field that holds the text"
        raise DocumentError(problem, where=f"{self.files.address(path)}:{place}", remedy=remedy)


def kind_of_value(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a string")


def listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
