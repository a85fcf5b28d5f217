from __future__ import annotations

import json

import numpy as np
import pytest

from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.tokens.manifest import read_manifest, verify_shard


@pytest.fixture
def shard(tmp_path):
    np.arange(6, dtype="<u2").tofile(tmp_path / "validation.ds")
    np.array([2, 6], dtype="<u8").tofile(tmp_path / "validation.ds.index")
    split = {"file": "validation.ds", "tokens": 6, "documents": 2, "bytes": 20}
    split |= {
        "sha256": sha256_of(tmp_path / "validation.ds"),
        "index_sha256": sha256_of(tmp_path / "validation.ds.index"),
    }
    manifest = {
        "source": "books",
        "version": "v",
        "tokenizer": "t",
        "vocabulary": 9,
        "dtype": "uint16",
        "splits": {"validation": split},
    }
    (tmp_path / "manifest.json").write_text(
        json.dumps(manifest | {"duplicates": 0, "documents_version": "d", "new": 1})
    )
    return tmp_path


def test_a_whole_shard(shard):
    manifest = verify_shard(shard)
    assert manifest == read_manifest(shard)
    assert (manifest.source, manifest.totals("tokens"), manifest.totals("bytes")) == ("books", 6, 20)


@pytest.mark.parametrize("name", ["validation.ds", "validation.ds.index"])
def test_missing_cut_and_altered_files_are_named(shard, name):
    path = shard / name
    whole = path.read_bytes()
    for content, problem in ((whole[:-1] + b"\x07", "altered"), (whole[:-1], "bytes where the manifest states")):
        path.write_bytes(content)
        with pytest.raises(TokenError, match=problem) as caught:
            verify_shard(shard)
        assert caught.value.where == str(path)
    path.unlink()
    with pytest.raises(TokenError, match="is missing") as caught:
        verify_shard(shard)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", ["", "{", '{"source": "books"}'])
def test_a_malformed_manifest(shard, content):
    (shard / "manifest.json").write_text(content)
    with pytest.raises(TokenError, match="malformed manifest"):
        read_manifest(shard)


def test_no_shard(tmp_path):
    with pytest.raises(TokenError, match="no token shard here"):
        read_manifest(tmp_path / "absent")
