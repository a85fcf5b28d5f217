"""Lines of plain, gzip and Zstandard files; a file that ends too soon is an error in all three."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK = 1 << 18
"""Bytes read at once."""


class ZstdFile(io.RawIOBase):
    """Decompresses all frames of a Zstandard stream.

    zstandard's own stream reader takes the end of a truncated file for the end of its data; this one raises EOFError.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard

        self._stream = stream
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._left = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with decompressed bytes, return how many; 0 at the end."""
        while not self._left:
            block = self._stream.read(BLOCK)
            if not block:
                if self._frame is not None:
                    raise EOFError("compressed file ended before the end-of-frame marker was reached")
                return 0
            self._left = self._decompressed(block)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _decompressed(self, block: bytes) -> bytes:
        out = []
        while block:
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            out.append(self._frame.decompress(block))
            block = b""
            if self._frame.eof:
                block, self._frame = self._frame.unused_data, None
        return b"".join(out)


@contextmanager
def open_lines(fs: AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    """Open ``path`` for reading lines of bytes, decompressed as its suffix says (.gz, .zst, else plain)."""
    name = path.lower()
    with cast("IO[bytes]", fs.open(path, "rb")) as stream:
        if name.endswith(".gz"):
            with gzip.open(stream, "rb") as file:
                yield cast("IO[bytes]", file)
        elif name.endswith((".zst", ".zstd")):
            with io.BufferedReader(ZstdFile(stream), BLOCK) as file:
                yield file
        else:
            yield stream
