"""datatrove's reader of JSON lines, made strict. Imported only when documents are read."""
# ruff: noqa: TID253 - nothing imports this module at its top, so datatrove does not slow the asset graph's start.

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
from datatrove.data import Document
from datatrove.pipeline.readers import JsonlReader
from zstandard import ZstdError

from regmix_pipeline.documents.decompress import open_lines
from regmix_pipeline.documents.readers.base import StrictReader, kind_of_value
from regmix_pipeline.errors import DocumentError


def _with_constants(line: bytes) -> Any:
    """What a line holds that is JSON but for NaN and infinities, which Python writes; None for any other line."""
    seen: list[str] = []

    def number(constant: str) -> float:
        seen.append(constant)
        return float(constant)

    try:
        record = json.loads(line, parse_constant=number)
    except ValueError:
        return None
    return record if seen else None


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
            raise self.damaged(
                f"the file is truncated or damaged: {error}", filepath, str(number + 1), error
            ) from error

    def _record(self, line: bytes, path: str, number: int) -> dict[str, Any]:
        where = f"{self.files.address(path)}:{number}"
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DocumentError(
                "the file is UTF-16, not UTF-8",
                where=self.files.address(path),
                remedy="convert the file: `iconv -f utf-16 -t utf-8 FILE > NEW`",
            )
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            try:
                line.decode()
            except UnicodeDecodeError as undecodable:
                raise DocumentError(
                    f"byte {undecodable.start + 1} of the line is not UTF-8 ({undecodable.reason})",
                    where=where,
                    remedy="write the file as UTF-8, from the encoding that it is in",
                ) from error
            record = _with_constants(line)
            if record is None:
                raise DocumentError(
                    f"malformed JSON: {error}", where=where, remedy="write one JSON object per line"
                ) from error
        if not isinstance(record, dict):
            raise DocumentError(
                f"the line holds {kind_of_value(record)}, not an object",
                where=where,
                remedy=f'write one JSON object per line, for instance {{"{self.text_key}": "..."}}',
            )
        return record
