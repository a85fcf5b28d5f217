"""Lines of plain, gzip and Zstandard files; a file that ends too soon is an error in all three."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK = 1 << 18
"""Bytes read at once."""
COMPRESSED = (".gz", ".zst", ".zstd")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""The first bytes of a Zstandard frame that holds no data."""


class ZstdFile(io.RawIOBase):
    """Decompresses all frames of a Zstandard stream.

    zstandard's own stream reader takes the end of a truncated file for the end of its data; this one raises EOFError.
    """

    def __init__(self, stream: IO[bytes], block: int = BLOCK) -> None:
        import zstandard

        self._stream, self._block = stream, block
        # As `zstd --long=31` writes: a file's window is as large as it says.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None
        self._left = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with decompressed bytes, return how many; 0 at the end."""
        while not self._left:
            block = self._stream.read(self._block)
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
    """Open ``path`` for reading lines of bytes, decompressed as `decompressed` says."""
    with cast("IO[bytes]", fs.open(path, "rb")) as stream, decompressed(stream, path) as lines:
        yield lines


@contextmanager
def decompressed(stream: IO[bytes], path: str, block: int = BLOCK) -> Iterator[IO[bytes]]:
    """What a stream holds, decompressed as its first bytes say, whatever its name.

    Args:
        stream: a file opened for reading bytes, at its beginning.
        path: its name.
        block: bytes of a Zstandard stream that are read at once.

    Raises:
        EOFError: its name says that it is compressed, and it is not.
    """
    first = stream.read(4)
    stream.seek(0)
    if first.startswith(GZIP):
        with gzip.GzipFile(fileobj=stream) as file:
            yield cast("IO[bytes]", file)
    elif first.startswith(ZSTD) or SKIPPABLE.fullmatch(first):
        with io.BufferedReader(ZstdFile(stream, block), block) as file:
            yield file
    elif first and path.lower().endswith(COMPRESSED):
        raise EOFError("it is named as compressed, and its first bytes are not those of gzip or Zstandard")
    else:
        yield stream
