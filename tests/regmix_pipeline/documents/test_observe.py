from __future__ import annotations

import json
import os
import shutil
import time

import fsspec
import pytest

from regmix_pipeline.documents import observe as module
from regmix_pipeline.documents.observe import observe
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.study.settings.documents import Source

ALL = Source(jsonl="docs/*.jsonl")


@pytest.fixture
def base(tmp_path):
    (tmp_path / "docs").mkdir()
    for number in (1, 2):
        path = tmp_path / "docs" / f"{number}.jsonl"
        path.write_text(json.dumps({"text": f"document {number}"}) + "\n")
        os.utime(path, (time.time() - 100,) * 2)
    return tmp_path


def test_files_are_listed_with_size_and_checksum(base):
    seen = observe(ALL, base, base / "data")
    first = base / "docs" / "1.jsonl"
    assert seen.files[0] == module.ObservedFile(str(first), first.stat().st_size, f"sha256:{sha256_of(first)}")
    assert seen.bytes == 2 * first.stat().st_size
    assert seen.label == "jsonl docs/*.jsonl"
    assert len(seen.version) == 16


def test_times_and_names_do_not_matter_but_content_and_order_do(base):
    version = observe(ALL, base, base / "data").version
    os.utime(base / "docs" / "1.jsonl")
    shutil.copytree(base / "docs", base / "elsewhere")
    os.rename(base / "elsewhere" / "2.jsonl", base / "elsewhere" / "3.jsonl")
    assert observe(ALL, base, base / "data").version == version
    assert observe(Source(jsonl="elsewhere/*.jsonl"), base, base / "data").version == version

    os.rename(base / "elsewhere" / "3.jsonl", base / "elsewhere" / "0.jsonl")
    assert observe(Source(jsonl="elsewhere/*.jsonl"), base, base / "data").version != version
    (base / "docs" / "1.jsonl").write_text('{"text": "other"}\n')
    assert observe(ALL, base, base / "data").version != version


def test_settings_that_change_what_is_read_change_the_version(base):
    sources = [ALL, Source(jsonl="docs/*.jsonl", max_documents=1), Source(jsonl="docs/*.jsonl", max_bytes=9)]
    sources.append(Source(jsonl="docs/*.jsonl", text_field="body"))
    assert len({observe(source, base, base / "data").version for source in sources}) == 4
    named = Source(jsonl="docs/*.jsonl", id_field="key")
    assert observe(named, base, base / "data").version == observe(ALL, base, base / "data").version


def test_checksums_are_remembered_until_the_file_changes(base, monkeypatch):
    hashed = []
    monkeypatch.setattr(module, "sha256_of", lambda path: (hashed.append(path), sha256_of(path))[1])
    first = observe(ALL, base, base / "data")
    assert observe(ALL, base, base / "data") == first
    assert len(hashed) == 2

    path = base / "docs" / "2.jsonl"
    same_size = path.read_text().replace("2", "3")
    path.write_text(same_size)
    assert observe(ALL, base, base / "data").version != first.version
    # Written a moment ago: hashed again each time, as another write could leave the same time and size. A quick look
    # takes the last checksum.
    seen = observe(ALL, base, base / "data")
    assert hashed[2:] == [str(path), str(path)]
    assert module.version_by_listing(ALL, base, base / "data") == seen.version
    assert hashed[4:] == []


def test_a_damaged_store_of_checksums_is_ignored(base):
    version = observe(ALL, base, base / "data").version
    (base / "data" / "checksums.json").write_text("{")
    assert observe(ALL, base, base / "data").version == version


def test_memory_files_are_known_by_content(base):
    fs = fsspec.filesystem("memory")
    source = Source(jsonl="memory://observe/*.jsonl")
    fs.pipe_file("/observe/a.jsonl", b'{"text": "a"}\n')
    version = observe(source, base, base).version
    fs.pipe_file("/observe/a.jsonl", b'{"text": "a"}\n')
    assert observe(source, base, base).version == version
    fs.pipe_file("/observe/a.jsonl", b'{"text": "b"}\n')
    assert observe(source, base, base).version != version


def test_unreadable_files_are_named(base):
    path = base / "docs" / "1.jsonl"
    path.unlink()
    path.symlink_to(base / "docs" / "2.jsonl")
    assert observe(ALL, base, base / "data").bytes > 0
    with pytest.raises(DocumentError, match=r"no file matches") as caught:
        observe(Source(jsonl="docs/*.json"), base, base / "data")
    assert "holds" in str(caught.value)
    missing = base / "docs" / "gone.jsonl"
    with pytest.raises(DocumentError, match="cannot be read") as caught:
        module._local_sum(str(missing), {})
    assert caught.value.where == str(missing)


def test_etags_spare_the_reading(tmp_path):
    class Store:
        def info(self, path):
            return {"name": path, "size": 12, "ETag": '"abc"', "LastModified": time.time()}

        def unstrip_protocol(self, path):
            return f"s3://{path}"

    files = module.SourceFiles(Store(), ("b/a.jsonl",), local=False)  # type: ignore[arg-type]
    assert module._remote_checksums(files, tmp_path) == [(12, "etag:12:abc")]
