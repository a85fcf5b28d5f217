"""From a source of tokens to its data sets on a disk, each in its format, in reading order: sorted by path."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from regmix_pipeline.addresses import local_path
from regmix_pipeline.documents.catalogue import TOKEN_FORMATS
from regmix_pipeline.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regmix_pipeline.documents.token_formats.base import TokenFormat, TokenPart
    from regmix_pipeline.study.settings.documents import Source
    from regmix_pipeline.study.settings.token_files import TokenFiles

USUAL = {True: "uint16", False: "uint32"}
"""Type of a token where nobody says it: whether the vocabulary fits 16 bits -> type."""


@dataclass(frozen=True)
class TokenData:
    """A data set of a source: its format, and the path that names it."""

    format: TokenFormat
    main: str

    @cached_property
    def files(self) -> list[str]:
        """All its files, those with tokens first."""
        return [*self.format.data(self.main), *self.format.beside(self.main)]

    def dtype(self, stated: str | None, vocabulary: int | None) -> str:
        """How its tokens are read: as its files say, else as stated, else as fits the vocabulary.

        Raises:
            DocumentError: the files say another type than is stated, or one that is not read.
        """
        from regmix_pipeline.documents.token_formats.base import READ_AS

        said = self.format.dtype(self.main)
        if said is None:
            return stated or USUAL[vocabulary is None or vocabulary <= 1 << 16]
        if said not in READ_AS:
            raise DocumentError(
                f"its tokens are {said}, which is not read where it lies",
                where=self.main,
                remedy="write them again as uint16 or uint32 (int32 will do)",
            )
        if stated is not None and READ_AS[said] != stated:
            raise DocumentError(
                f"its tokens are {said}, and tokens.dtype says {stated}",
                where=self.main,
                remedy="leave tokens.dtype out: these files say it themselves",
            )
        return READ_AS[said]

    def parts(self, stated: TokenFiles, vocabulary: int, eos_id: int) -> Iterator[TokenPart]:
        """Its tokens and where its documents end.

        Raises:
            DocumentError: as the format does, or its tokenizer is another one by name.
        """
        named = self.format.tokenizer(self.main)
        if named is not None and named != stated.tokenizer:
            raise DocumentError(
                f"its tokens were made by the tokenizer {named}, and tokens.tokenizer says {stated.tokenizer}",
                where=self.main,
                remedy="give the study that tokenizer, or tokens of its own",
            )
        yield from self.format.parts(self.main, self.dtype(stated.dtype, vocabulary), eos_id)


def token_data(source: Source, base: Path) -> list[TokenData]:
    """The data sets that a source of tokens names, sorted by path.

    Raises:
        DocumentError: nothing matches, or what does is of no format that is read, or not of the stated one.
    """
    assert source.tokens is not None
    stated = source.tokens
    found: dict[str, TokenData] = {}
    for path in _matches(stated.path, base):
        data = _data_of(path, stated)
        found.setdefault(data.main, data)
    return [found[main] for main in sorted(found)]


def token_paths(source: Source, base: Path) -> list[str]:
    """All files of a source of tokens, in reading order. Raises DocumentError as `token_data`, and for missing ones."""
    from regmix_pipeline.documents.token_formats.base import size_of

    found = list(dict.fromkeys(path for data in token_data(source, base) for path in data.files))
    for path in found:
        size_of(path)
    return found


def stored_tokens(source: Source, base: Path, vocabulary: int | None = None) -> int:
    """Tokens in a source's files by their sizes alone. Raises DocumentError as `token_data`."""
    from regmix_pipeline.documents.token_formats.base import WIDTHS, size_of

    assert source.tokens is not None
    stated = source.tokens.dtype
    vocabulary = source.tokens.vocabulary or vocabulary
    return sum(
        size_of(path) // WIDTHS[data.dtype(stated, vocabulary)]
        for data in token_data(source, base)
        for path in data.format.data(data.main)
    )


def _matches(pattern: str, base: Path) -> list[str]:
    """Files and folders, of a literal path or a glob; of Megatron's files, the prefix may be given."""
    literal, pattern = local_path(pattern, base), os.path.expanduser(pattern)
    if os.path.exists(literal):
        return [literal]
    matches = glob.glob(pattern, root_dir=base, recursive=True) or glob.glob(f"{pattern}.idx", root_dir=base)
    found = sorted({os.path.abspath(base / match) for match in matches})
    if os.path.isfile(f"{literal}.idx"):
        found = [f"{literal}.idx"]
    if not found:
        folder = os.path.dirname(literal)
        held = f"; {folder} holds {', '.join(sorted(os.listdir(folder))[:5])}" if os.path.isdir(folder) else ""
        raise DocumentError(
            f"no file matches{held}",
            where=f"tokens: {pattern}",
            remedy="correct the path; it starts at the study file's folder",
        )
    return found


def _data_of(path: str, stated: TokenFiles) -> TokenData:
    """The data set that a path belongs to."""
    formats = [TOKEN_FORMATS[name] for name in ([stated.format] if stated.format else TOKEN_FORMATS)]
    for each in formats:
        main = path if each.any_name and stated.format and os.path.isfile(path) else each.main(path)
        if main is not None:
            return TokenData(each, main)
    known = ", ".join(f"{name} ({TOKEN_FORMATS[name].endings})" for name in TOKEN_FORMATS)
    if os.path.isdir(path):
        raise DocumentError(
            "is a folder without litdata's index.json", where=path, remedy="name its files, for instance with *.npy"
        )
    if stated.format is not None:
        raise DocumentError(
            f"is not one of {stated.format}'s files ({TOKEN_FORMATS[stated.format].endings})",
            where=path,
            remedy="narrow the pattern, correct tokens.format, or put the files that belong to it beside it",
        )
    raise DocumentError(
        f"is of no format that is read: {known}", where=path, remedy="narrow the pattern, or state tokens.format"
    )
