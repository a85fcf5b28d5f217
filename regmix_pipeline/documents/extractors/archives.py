"""Members of wheels, zips and source archives, in a fixed order."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

Extracted = Iterator[tuple[str, str]]
"""(id, text) of document after document."""


def decoded(content: bytes) -> str:
    """UTF-8 text, or Latin-1 where an old file is not UTF-8; line ends become ``\\n``."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def zip_members(archive: Path | IO[bytes], pattern: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the members whose name matches ``pattern`` somewhere, sorted by name."""
    wanted = re.compile(pattern)
    with zipfile.ZipFile(archive) as file:
        for name in sorted(name for name in file.namelist() if wanted.search(name)):
            yield name, file.read(name)


def tar_members(archive: Path, pattern: str) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, open file) of the members that match, in archive order: one pass, as a .tar.gz cannot seek cheaply."""
    wanted = re.compile(pattern)
    with tarfile.open(archive, "r|gz") as file:
        for member in file:
            if member.isfile() and wanted.search(member.name):
                yield member.name, cast("IO[bytes]", file.extractfile(member))


def chunks_of_paragraphs(text: str, characters: int) -> Iterator[str]:
    """Cut ``text`` at blank lines into pieces that end with the paragraph in which they reach ``characters``."""
    piece: list[str] = []
    length = 0
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        piece.append(paragraph)
        length += len(paragraph)
        if length >= characters:
            yield "\n\n".join(piece)
            piece, length = [], 0
    if piece:
        yield "\n\n".join(piece)
