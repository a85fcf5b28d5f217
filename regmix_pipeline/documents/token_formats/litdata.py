"""litdata's chunks of tokens: index.json and chunk-*.bin, as `optimize` writes them for a TokensLoader.

A chunk is the number of its items, their offsets (both uint32) and their bytes. A TokensLoader takes no notice of items
and reads the tokens of a chunk as one row, so the end-of-text token ends a document.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

from regmix_pipeline.documents.token_formats.base import TokenFormat, TokenPart, ends_by_token, mapped, whole_tokens
from regmix_pipeline.errors import DocumentError

INDEX = "index.json"
OF_TORCH = {11: "uint8", 12: "int8", 13: "int16", 14: "int16", 15: "int32", 16: "int32", 17: "int64", 18: "int64"}
OF_TORCH |= {20: "uint16"}
"""Type of a token by its number in litdata's list of torch's types."""
REMEDY = "write it with litdata's optimize and item_loader=TokensLoader()"


class Litdata(TokenFormat):
    """A folder that litdata's `optimize` wrote."""

    name = "litdata"
    endings = "index.json"

    def main(self, path: str) -> str | None:
        """The folder's index, of the folder, the index or a chunk."""
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        named = os.path.isdir(path) or os.path.basename(path) == INDEX or path.endswith(".bin")
        index = os.path.join(folder, INDEX)
        return index if named and os.path.isfile(index) else None

    def data(self, main: str) -> list[str]:
        """The chunks, in the index's order."""
        return [os.path.join(os.path.dirname(main), chunk["filename"]) for chunk in _read(main)["chunks"]]

    def beside(self, main: str) -> list[str]:
        """The index."""
        return [main]

    def dtype(self, main: str) -> str | None:
        """By the serializer's name in the index, such as no_header_tensor:16."""
        config = _read(main)["config"]
        serializer, _, number = config["data_format"][0].partition(":")
        if serializer == "no_header_tensor":
            return OF_TORCH.get(int(number), f"number {number} of torch's types")
        if serializer == "no_header_numpy":
            return _numpy_type(int(number))
        raise DocumentError(f"holds {serializer}, not rows of tokens", where=main, remedy=REMEDY)

    def parts(self, main: str, dtype: str, eos_id: int) -> Iterator[TokenPart]:
        """A part for each chunk."""
        index = _read(main)
        for chunk, path in zip(index["chunks"], self.data(main), strict=True):
            if not os.path.isfile(path):
                raise DocumentError("the chunk is missing", where=path, remedy="put it back, or write the folder again")
            offset = 4 * (2 + int(chunk["chunk_size"]))
            with open(path, "rb") as file:
                items = struct.unpack("<I", file.read(4).ljust(4, b"\0"))[0]
            found = whole_tokens(path, dtype, offset)
            if items != chunk["chunk_size"] or found != chunk["dim"]:
                raise DocumentError(
                    f"holds {found:,} tokens in {items:,} items where its index states {chunk['dim']:,} in "
                    f"{chunk['chunk_size']:,}",
                    where=path,
                    remedy="put the whole chunk back, or write the folder again",
                )
            yield TokenPart(path, offset, dtype, ends_by_token(mapped(path, dtype, offset, found), eos_id))


def _read(main: str) -> dict[str, Any]:
    """The index. Raises DocumentError where it is not one of uncompressed chunks of tokens."""
    try:
        with open(main, encoding="utf-8") as file:
            found = json.load(file)
        chunks, config = found["chunks"], found["config"]
        dims = [int(chunk["dim"]) + int(chunk["chunk_size"]) + len(chunk["filename"]) for chunk in chunks]
        wrong = not dims or not isinstance(config["data_format"], list) or len(config["data_format"]) != 1
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DocumentError(
            f"does not say how many tokens its chunks hold ({type(error).__name__}: {error})",
            where=main,
            remedy=REMEDY,
        ) from error
    if wrong:
        raise DocumentError("does not list chunks of one row of tokens each", where=main, remedy=REMEDY)
    if config.get("compression"):
        raise DocumentError(
            f"its chunks are compressed as {config['compression']}, so they cannot be read where they lie",
            where=main,
            remedy="write them again without compression",
        )
    if config.get("encryption"):
        raise DocumentError("its chunks are encrypted", where=main, remedy="write them again without encryption")
    return found


def _numpy_type(number: int) -> str:
    """The type of a number in litdata's list of numpy's types."""
    names = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    return names[number] if number < len(names) else f"number {number} of numpy's types"


LITDATA = Litdata()
