from __future__ import annotations

import fsspec
import pytest

from regmix_pipeline.documents.resolve import resolve, uri_of
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "study [draft]"
    (folder / "books" / "old").mkdir(parents=True)
    for name in ("books/b.jsonl", "books/a.jsonl.gz", "books/old/c.jsonl", "books/notes.txt", "books/.hidden.jsonl"):
        (folder / name).write_text('{"text": "x"}\n')
    return folder


def names(source, base):
    files = resolve(source, base, base / "data")
    return [path.removeprefix(str(base) + "/") for path in files.paths]


def test_globs_start_at_the_base_folder_and_are_sorted(base):
    assert names(Source(jsonl="books/*.jsonl*"), base) == ["books/a.jsonl.gz", "books/b.jsonl"]
    assert names(Source(jsonl="books/**/*.jsonl"), base) == ["books/b.jsonl", "books/old/c.jsonl"]
    assert names(Source(jsonl=str(base / "books" / "b.jsonl")), base) == ["books/b.jsonl"]


def test_a_literal_name_with_brackets(base):
    (base / "books" / "x[1].jsonl").write_text("{}")
    assert names(Source(jsonl="books/x[1].jsonl"), base) == ["books/x[1].jsonl"]


def test_file_and_memory_addresses(base):
    fs = fsspec.filesystem("memory")
    for name in ("b", "a"):
        fs.pipe_file(f"/resolve/{name}.jsonl", b"{}")
    files = resolve(Source(jsonl="memory://resolve/*.jsonl"), base, base)
    assert [files.address(path) for path in files.paths] == ["memory:///resolve/a.jsonl", "memory:///resolve/b.jsonl"]
    assert not files.local
    local = resolve(Source(jsonl=f"file://{base}/books/b.jsonl"), base, base)
    assert local.local
    assert local.address(local.paths[0]) == str(base / "books" / "b.jsonl")


@pytest.mark.parametrize(
    ("address", "problem", "remedy"),
    [
        ("boks/*.jsonl", "boks does not exist", "did you mean books"),
        ("zzz/*.jsonl", "zzz does not exist", "check the path"),
        ("books/*.json", "books holds ", "correct the pattern"),
        ("books/b.json", "holds b.jsonl", "correct the pattern"),
        ("books", "is a folder", "books/*.jsonl"),
        ("empty/*.jsonl", "is empty", "put the documents there"),
        ("memory://resolve/none/*.jsonl", "no file matches", "check the address"),
        ("memory://resolve/none.jsonl", "no file matches", "check the address"),
        ("nosuch://bucket/*.jsonl", "Protocol not known: nosuch", "check the address"),
    ],
)
def test_nothing_matches(base, address, problem, remedy):
    (base / "empty").mkdir()
    with pytest.raises(DocumentError, match=problem) as caught:
        resolve(Source(jsonl=address), base, base)
    assert caught.value.where == f"jsonl: {address}"
    assert remedy in caught.value.remedy


def test_empty_files(base):
    for name in ("x.jsonl", "y.jsonl"):
        (base / "old_" / name).parent.mkdir(exist_ok=True)
        (base / "old_" / name).touch()
    with pytest.raises(DocumentError, match="all files are empty"):
        resolve(Source(jsonl="old_/*.jsonl"), base, base)
    with pytest.raises(DocumentError, match="the file is empty"):
        resolve(Source(jsonl="old_/x.jsonl"), base, base)


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("jsonl", "a.parquet", r"is a \.parquet file in a jsonl source"),
        ("jsonl", "a.jsonl.bz2", r"\.bz2 files cannot be read"),
        ("parquet", "a.zip", r"\.zip files cannot be read"),
    ],
)
def test_files_of_another_kind(base, kind, name, problem):
    (base / name).write_text("x")
    with pytest.raises(DocumentError, match=problem) as caught:
        resolve(Source.model_validate({kind: name}), base, base)
    assert caught.value.where == str(base / name)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("books/*.jsonl", "file://{base}/books/*.jsonl"),
        ("../a b.jsonl", "file://{parent}/a%20b.jsonl"),
        ("https://alice:pass@host/code.jsonl", "https://host/code.jsonl"),
        ("hf://datasets/org/name/*.jsonl", "hf://datasets/org/name/*.jsonl"),
    ],
)
def test_the_uri_of_a_source_is_whole_and_gives_nobody_access(tmp_path, address, uri):
    expected = uri.format(base=tmp_path, parent=tmp_path.parent)
    assert uri_of(Source(jsonl=address), tmp_path, tmp_path / "data") == expected
