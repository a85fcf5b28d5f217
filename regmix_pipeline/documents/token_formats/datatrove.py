"""datatrove's .ds files: headless tokens, with the ends of documents in .ds.index and perhaps .ds.metadata beside."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from regmix_pipeline.documents.token_formats.base import (
    TokenFormat,
    TokenPart,
    check_stated_ends,
    mapped,
    size_of,
    whole_tokens,
)
from regmix_pipeline.errors import DocumentError

BESIDE = (".index", ".metadata")


class Datatrove(TokenFormat):
    """What DocumentTokenizer writes; its index holds the end of each document, in tokens, as uint64."""

    name = "datatrove"
    endings = ".ds"

    def main(self, path: str) -> str | None:
        """The file of tokens."""
        for ending in BESIDE:
            path = path.removesuffix(ending)
        return path if path.endswith(".ds") and os.path.isfile(path) else None

    def beside(self, main: str) -> list[str]:
        """The index, and the metadata where there is one."""
        return [f"{main}.index", *([f"{main}.metadata"] if os.path.isfile(f"{main}.metadata") else [])]

    def dtype(self, main: str) -> str | None:
        """By the size of a token that the metadata state."""
        size = _metadata(main)[1]
        return {"2": "uint16", "4": "uint32", "": None}.get(size, f"{size} bytes a token")

    def tokenizer(self, main: str) -> str | None:
        """The name in the metadata; None for a path on the machine that made the files."""
        name = _metadata(main)[0]
        here = not name or name == "Unknown Tokenizer" or name.endswith(".json") or os.path.isabs(name)
        return None if here else name

    def parts(self, main: str, dtype: str, eos_id: int) -> Iterator[TokenPart]:
        """One part: the file."""
        index = f"{main}.index"
        if not os.path.isfile(index):
            raise DocumentError(
                "has no index beside it, so where its documents end is not known",
                where=main,
                remedy=f"put {index} there: datatrove's DocumentTokenizer writes it",
            )
        if size_of(index) % 8:
            raise DocumentError("is cut: not a whole number of ends", where=index, remedy="make it again")
        ends = np.fromfile(index, "<u8").astype(np.int64)
        found = whole_tokens(main, dtype)
        if (int(ends[-1]) if len(ends) else 0) != found:
            raise DocumentError(
                f"holds {found:,} {dtype} tokens where its index states {int(ends[-1]) if len(ends) else 0:,}",
                where=main,
                remedy="the file is cut or of another dtype: state tokens.dtype, or make it again",
            )
        remedy = "tokenise with DocumentTokenizer(eos_token=...) of the study's tokenizer"
        check_stated_ends(main, mapped(main, dtype, 0, found), ends, eos_id, remedy)
        yield TokenPart(main, 0, dtype, ends)


def _metadata(main: str) -> tuple[str, str]:
    """Name of the tokenizer and bytes of a token; "" where it is not said. A name may have its token size twice."""
    try:
        with open(f"{main}.metadata", encoding="utf-8") as file:
            name, *sizes = file.readline().strip().split("|")
    except (OSError, UnicodeDecodeError):
        return "", ""
    return name, sizes[-1] if sizes else ""


DATATROVE = Datatrove()
