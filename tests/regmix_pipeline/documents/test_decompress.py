from __future__ import annotations

import gzip
import io

import fsspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from regmix_pipeline.documents.decompress import ZstdFile, open_lines

COMPRESS = {"x.jsonl": bytes, "x.jsonl.gz": gzip.compress, "x.jsonl.zst": zstandard.compress}


@pytest.mark.parametrize("name", COMPRESS)
def test_lines(name, tmp_path):
    lines = [b'{"a": "\xe2\x80\xa8 no line end"}\n', b"\n", b"last"]
    (tmp_path / name).write_bytes(COMPRESS[name](b"".join(lines)))
    with open_lines(fsspec.filesystem("file"), str(tmp_path / name)) as file:
        assert list(file) == lines


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300_000), min_size=1, max_size=3), st.integers(1, 70_000))
def test_zstd_frames_follow_each_other(frames, read_size):
    file = io.BufferedReader(ZstdFile(io.BytesIO(b"".join(zstandard.compress(frame) for frame in frames))))
    out = b"".join(iter(lambda: file.read(read_size), b""))
    assert out == b"".join(frames)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.data())
def test_a_truncated_zstd_file_is_an_error(content, data):
    whole = zstandard.compress(content)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(EOFError, match="end-of-frame"):
        io.BufferedReader(ZstdFile(io.BytesIO(whole[:cut]))).read()
