"""Tokens read where they lie: a split of a shard as a list of extents of other files, and not as a copy.

An extent is a run of documents of the split that lie one after the other in a file. Read one after the other, extents
are the tokens of the split: whoever reads them notices no difference to a file of its own.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import canonical_json, read_json, sha256_of, write_json

ENDING = ".extents"
PATHS = "paths.json"
"""Beside the lists: where their files lie. It is no part of the content, so files may be moved."""
BLOCK = 1 << 22
"""Tokens hashed at once."""
BACK = "put the file back as it was, or run again: the shard is then made of what is there"


class Tokens(Protocol):
    """A row of tokens on a disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class TokensIn:
    """A file that holds tokens.

    Attributes:
        path: the file.
        offset: bytes before the first token.
        tokens: how many it holds, of whatever split.
        bytes: its size.
        sha256: of its bytes.
    """

    path: Path
    offset: int
    tokens: int
    bytes: int
    sha256: str


class ExtentTokens:
    """The tokens of a list of extents, as one row.

    Args:
        path: the list, as `write_extents` writes it.

    Raises:
        TokenError: the list is missing or damaged, or a file of tokens is missing or has another size.
    """

    def __init__(self, path: Path) -> None:
        try:
            held = read_json(path)
            self.dtype = np.dtype(held["dtype"])
            paths = read_json(path.with_name(PATHS))
            self.files = [TokensIn(Path(where), **each) for where, each in zip(paths, held["files"], strict=True)]
            self._which, self._first, lengths = (
                np.asarray(held[name], np.int64) for name in ("file", "start", "tokens")
            )
        except FileNotFoundError as error:
            raise TokenError("the token file is missing", where=str(path), remedy=BACK) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TokenError(f"is not a list of extents: {error}", where=str(path), remedy=BACK) from error
        self._after = np.cumsum(lengths)
        self._edges = self._after.tolist()
        self._opened: dict[int, NDArray[Any]] = {}
        for file in self.files:
            _check_size(file)

    @property
    def paths(self) -> list[Path]:
        """The files of tokens."""
        return [file.path for file in self.files]

    def __len__(self) -> int:
        return self._edges[-1] if self._edges else 0

    def __getitem__(self, places: slice, /) -> NDArray[Any]:
        start, stop, step = places.indices(len(self))
        if step != 1:
            raise ValueError("tokens are read one after the other")
        pieces = list(self._pieces(start, stop))
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, self.dtype)

    def _pieces(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        number = bisect_right(self._edges, start)
        while start < stop:
            after = self._edges[number]
            begins = after - (self._edges[number - 1] if number else 0)
            place = int(self._first[number]) + start - (after - begins)
            take = min(stop, after) - start
            yield self._tokens(int(self._which[number]))[place : place + take]
            start, number = start + take, number + 1

    def _tokens(self, number: int) -> NDArray[Any]:
        if number not in self._opened:
            file = self.files[number]
            kind = self.dtype.newbyteorder("<")
            self._opened[number] = np.memmap(file.path, kind, "r", file.offset, (file.tokens,))
        return self._opened[number]


def opened_tokens(path: Path, dtype: str) -> Tokens:
    """A split's tokens, mapped and not read: a file of them, or a list of extents. Raises TokenError."""
    if path.suffix == ENDING:
        return ExtentTokens(path)
    return np.memmap(path, dtype=np.dtype(dtype).newbyteorder("<"), mode="r")


def token_blocks(path: Path, dtype: str) -> Iterator[bytes]:
    """All of a split's tokens as little-endian bytes, in blocks. Raises TokenError."""
    tokens = opened_tokens(path, dtype)
    for start in range(0, len(tokens), BLOCK):
        yield tokens[start : start + BLOCK].tobytes()


def sha256_of_tokens(path: Path, dtype: str) -> str:
    """SHA-256 of a split's tokens: equal for a file of its own and for extents. Raises TokenError."""
    digest = hashlib.sha256()
    for block in token_blocks(path, dtype):
        digest.update(block)
    return digest.hexdigest()


def altered_file(extents: Path) -> Path:
    """Which of the files of tokens is not what it was; the list itself where all are."""
    files = ExtentTokens(extents).files
    return next((file.path for file in files if sha256_of(file.path) != file.sha256), extents)


def stamps(path: Path) -> list[list[int]]:
    """Size, time and inode of every file that a split's tokens are read from: equal while nobody writes to them."""
    paths = [path, *ExtentTokens(path).paths] if path.suffix == ENDING else [path]
    found = [each.stat() for each in paths]
    return [[each.st_size, each.st_mtime_ns, each.st_ino] for each in found]


def write_extents(path: Path, dtype: str, files: Sequence[TokensIn], extents: Sequence[tuple[int, int, int]]) -> None:
    """Write a list of extents.

    Args:
        path: where to.
        dtype: type of a token.
        files: the files of tokens.
        extents: number of the file, first token and tokens of each.
    """
    columns = zip(*extents, strict=True) if extents else ((), (), ())
    named = dict(zip(("file", "start", "tokens"), map(list, columns), strict=True))
    held = [{name: value for name, value in asdict(file).items() if name != "path"} for file in files]
    path.write_text(canonical_json({"dtype": dtype, "files": held, **named}), encoding="utf-8")
    write_paths(path.parent, [file.path for file in files])


def write_paths(folder: Path, paths: Sequence[Path]) -> bool:
    """Write where the files of a shard's lists lie, unless it is written already; returns whether it was."""
    stated, place = [str(path) for path in paths], folder / PATHS
    if place.is_file() and read_json(place) == stated:
        return False
    write_json(place, stated)
    return True


def _check_size(file: TokensIn) -> None:
    if not file.path.is_file():
        raise TokenError("the token file is missing", where=str(file.path), remedy=BACK)
    if (found := file.path.stat().st_size) != file.bytes:
        raise TokenError(
            f"has {found:,} bytes where the shard that reads it knows {file.bytes:,}",
            where=str(file.path),
            remedy=BACK,
        )
