"""datatrove's JSONL and Parquet readers, made strict. Imported only when documents are read."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

import orjson
from datatrove.data import Document
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.readers.base import BaseDiskReader
from zstandard import ZstdError

from regmix_pipeline.documents.decompress import open_lines
from regmix_pipeline.documents.resolve import SourceFiles
from regmix_pipeline.errors import DocumentError

ROWS_AT_ONCE = 1000


class StrictReader(BaseDiskReader):
    """What both readers share: the files are given, limits count documents and bytes in reading order."""

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
        for document in chain.from_iterable(map(self.read_file, self.files.paths)):
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

    def document(self, record: dict[str, Any], path: str, place: str) -> Document:
        """The document of a record read from ``path`` at ``place``, such as ``17`` or ``row 17``."""
        text = record.get(self.text_key)
        if not isinstance(text, str):
            self.refuse_text(record, path, place)
        given = record.get(self.id_key)
        return Document(text=text, id=str(given) if given is not None else f"{path}:{place}")

    def refuse_text(self, record: dict[str, Any], path: str, place: str) -> NoReturn:
        """Raise what is wrong with a record's text."""
        if self.text_key in record:
            problem = f"the text field {self.text_key!r} holds {_kind(record[self.text_key])}, not a string"
            remedy = "give every document a string, or leave those without text out"
        else:
            problem = f"there is no text field {self.text_key!r}; the fields are {_listed(record)}"
            remedy = "set text_field to the field that holds the text"
        raise DocumentError(problem, where=f"{self.files.address(path)}:{place}", remedy=remedy)


class StrictJsonlReader(StrictReader, JsonlReader):
    """JSON lines, plain or compressed as .gz or .zst. Blank lines and a byte order mark are passed over."""

    def read_file(self, filepath: str) -> Iterator[Document]:
        """Yield the documents of one file; raise DocumentError with ``file:line``."""
        number = 0
        try:
            with open_lines(self.files.fs, filepath) as lines:
                for number, line in enumerate(lines, start=1):
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    if line.isspace() or not line:
                        continue
                    yield self.document(self._record(line, filepath, number), filepath, str(number))
        except (EOFError, zlib.error, ZstdError, OSError) as error:
            raise DocumentError(
                f"the file is truncated or damaged: {error}",
                where=f"{self.files.address(filepath)}:{number + 1}",
                remedy="make or fetch the file again",
            ) from error

    def _record(self, line: bytes, path: str, number: int) -> dict[str, Any]:
        where = f"{self.files.address(path)}:{number}"
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            try:
                line.decode()
            except UnicodeDecodeError as undecodable:
                raise DocumentError(
                    f"byte {undecodable.start + 1} of the line is not UTF-8 ({undecodable.reason})",
                    where=where,
                    remedy="convert the file, for instance `iconv -f latin1 -t utf-8 FILE > NEW`",
                ) from error
            raise DocumentError(
                f"malformed JSON: {error}", where=where, remedy="write one JSON object a line"
            ) from error
        if not isinstance(record, dict):
            raise DocumentError(
                f"the line holds {_kind(record)}, not an object",
                where=where,
                remedy=f'write one JSON object a line, for instance {{"{self.text_key}": "..."}}',
            )
        return record


class StrictParquetReader(StrictReader, ParquetReader):
    """Parquet files with a string column of text and, perhaps, a column of ids."""

    def read_file(self, filepath: str) -> Iterator[Document]:
        """Yield the documents of one file; raise DocumentError with ``file:row N``, rows counted from 1."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        row = 0
        try:
            with self.files.fs.open(filepath, "rb") as stream, pq.ParquetFile(stream) as file:
                columns = self._columns(file.schema_arrow, filepath)
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
                    for record in self._records(batch, filepath, row):
                        row += 1
                        yield self.document(record, filepath, f"row {row}")
        except (pa.ArrowException, OSError) as error:
            raise DocumentError(
                f"not a Parquet file, or damaged: {str(error).splitlines()[0]}",
                where=f"{self.files.address(filepath)}:row {row + 1}",
                remedy="make or fetch the file again",
            ) from error

    def _columns(self, schema: Any, path: str) -> list[str]:
        import pyarrow as pa

        if self.text_key not in schema.names:
            raise DocumentError(
                f"there is no text field {self.text_key!r}; the fields are {_listed(schema.names)}",
                where=self.files.address(path),
                remedy="set text_field to the field that holds the text",
            )
        kind = schema.field(self.text_key).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise DocumentError(
                f"the text field {self.text_key!r} holds {kind}, not strings",
                where=self.files.address(path),
                remedy="set text_field to a string column, or write the column as strings",
            )
        return [self.text_key, *({self.id_key} & set(schema.names) - {self.text_key})]

    def _records(self, batch: Any, path: str, before: int) -> list[dict[str, Any]]:
        try:
            return batch.to_pylist()
        except UnicodeDecodeError:
            for number, text in enumerate(batch.column(self.text_key), start=before + 1):
                try:
                    text.as_py()
                except UnicodeDecodeError as error:
                    raise DocumentError(
                        f"byte {error.start + 1} of the text is not UTF-8 ({error.reason})",
                        where=f"{self.files.address(path)}:row {number}",
                        remedy="write the column again with valid strings",
                    ) from error
            raise


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "a string")


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
