"""datatrove's reader of Parquet, made strict. Imported only when documents are read."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.readers import ParquetReader

from regmix_pipeline.documents.columns import readable_values
from regmix_pipeline.documents.readers.base import StrictReader, listed
from regmix_pipeline.errors import DocumentError

ROWS_AT_ONCE = 1000


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
            problem = f"not a Parquet file, or damaged: {next(iter(str(error).splitlines()), '')}"
            raise self.damaged(problem, filepath, f"row {row + 1}", error) from error

    def _columns(self, schema: Any, path: str) -> list[str]:
        import pyarrow as pa

        if self.text_key not in schema.names:
            raise DocumentError(
                f"there is no text field {self.text_key!r}; the fields are {listed(schema.names)}",
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
        records = [{self.text_key: text} for text in self._texts(batch, path, before)]
        if self.id_key in batch.schema.names and self.id_key != self.text_key:
            for record, given in zip(records, readable_values(batch.column(self.id_key)), strict=True):
                record[self.id_key] = given
        return records

    def _texts(self, batch: Any, path: str, before: int) -> list[str | None]:
        try:
            return batch.column(self.text_key).to_pylist()
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
