from __future__ import annotations

import gzip
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source


def jsonl(*records) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def texts(base, **settings) -> list[str]:
    return [document.text for document in reader(Source(**settings), base, base)()]


def error(base, **settings) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        texts(base, **settings)
    assert caught.value.remedy
    return caught.value


def test_plain_and_compressed_files_in_order_of_their_paths(tmp_path):
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "deux"})))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(jsonl({"text": "drei"})))
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl({"text": "één", "id": 7}) + b"\n")
    documents = list(reader(Source(jsonl="*"), tmp_path, tmp_path)())
    assert [document.text for document in documents] == ["één", "deux", "drei"]
    assert [document.id for document in documents] == ["7", f"{tmp_path}/b.jsonl.gz:1", f"{tmp_path}/c.jsonl.zst:1"]


def test_fields_can_be_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl({"body": "x", "key": "k", "text": 3}))
    (document,) = reader(Source(jsonl="a.jsonl", text_field="body", id_field="key"), tmp_path, tmp_path)()
    assert (document.text, document.id) == ("x", "k")


def test_other_file_systems(tmp_path):
    fsspec.filesystem("memory").pipe_file("/readers/a.jsonl.gz", gzip.compress(jsonl({"text": "from memory"})))
    (tmp_path / "a.jsonl").write_bytes(jsonl({"text": "from a file"}))
    assert texts(tmp_path, jsonl="memory://readers/*.gz") == ["from memory"]
    assert texts(tmp_path, jsonl=f"file://{tmp_path}/a.jsonl") == ["from a file"]


def test_limits_count_in_reading_order_and_read_no_further(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl({"text": "äa"}, {"text": " "}, {"text": "bb"}) + b"malformed")
    (tmp_path / "b.jsonl").write_bytes(b"malformed")
    assert texts(tmp_path, jsonl="*", max_documents=2) == ["äa", "bb"]
    assert texts(tmp_path, jsonl="*", max_documents=1) == ["äa"]
    assert texts(tmp_path, jsonl="*", max_bytes=1) == ["äa"]
    assert texts(tmp_path, jsonl="*", max_bytes=3) == ["äa"]
    assert texts(tmp_path, jsonl="*", max_bytes=4) == ["äa", "bb"]


def test_documents_without_text_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl({"text": ""}, {"text": "x"}, {"text": "\n "}))
    read = reader(Source(jsonl="a.jsonl"), tmp_path, tmp_path)
    assert [document.text for document in read()] == ["x"]
    assert read.without_text == 2


def test_one_task_only(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl({"text": "x"}))
    with pytest.raises(ValueError, match="one task"):
        list(reader(Source(jsonl="a.jsonl"), tmp_path, tmp_path).run(None, 0, 2))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "x"', "malformed JSON"),
        (b'{"text": NaN}', "not a string"),
        (b'{"text": "\\ud800"}', "malformed JSON"),
        ('{"text": "café"}'.encode("latin-1"), "byte 14 of the line is not UTF-8"),
        (b'{"body": "x", "id": 1}', "there is no text field 'text'; the fields are body, id"),
        (b'{"text": null}', "holds null, not a string"),
        (b'{"text": 3}', "holds a number, not a string"),
        (b'{"text": ["x"]}', "holds a list, not a string"),
        (b'["x"]', "the line holds a list, not an object"),
        (b'"x"', "the line holds a string, not an object"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_lines_are_named(tmp_path, line, problem, suffix):
    content = jsonl({"text": "fine"}) + b"\n" + line + b"\n" + jsonl({"text": "fine"})
    (tmp_path / f"a.jsonl{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    caught = error(tmp_path, jsonl=f"a.jsonl{suffix}")
    assert problem in caught.problem
    assert caught.where == f"{tmp_path}/a.jsonl{suffix}:3"


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("zst", zstandard.compress)], ids=["gz", "zst"]
)
def test_truncated_and_damaged_compressed_files(tmp_path, suffix, compress):
    whole = compress(jsonl(*({"text": f"number {n * 7919 % 1000}"} for n in range(3000))))
    name = f"a.jsonl.{suffix}"
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    caught = error(tmp_path, jsonl=name)
    assert "truncated or damaged" in caught.problem
    assert caught.where.startswith(f"{tmp_path}/{name}:")

    (tmp_path / name).write_bytes(b"not compressed at all, whatever the name says")
    assert "truncated or damaged" in error(tmp_path, jsonl=name).problem


def parquet(path, columns, row_group_size=None):
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)


def test_parquet(tmp_path):
    parquet(tmp_path / "a.parquet", {"text": ["one", "two", ""], "id": [1, 2, 3], "n": [0, 0, 0]}, row_group_size=2)
    parquet(tmp_path / "b.parquet", {"text": pa.array(["three"]).dictionary_encode()})
    documents = list(reader(Source(parquet="*.parquet"), tmp_path, tmp_path)())
    assert [document.text for document in documents] == ["one", "two", "three"]
    assert [document.id for document in documents] == ["1", "2", f"{tmp_path}/b.parquet:row 1"]
    assert texts(tmp_path, parquet="*.parquet", max_documents=1) == ["one"]


def test_parquet_without_the_field(tmp_path):
    parquet(tmp_path / "a.parquet", {"body": ["one"]})
    caught = error(tmp_path, parquet="a.parquet")
    assert "there is no text field 'text'; the fields are body" in caught.problem
    assert caught.where == f"{tmp_path}/a.parquet"
    assert "text_field" in caught.remedy


def test_parquet_fields_of_another_type(tmp_path):
    parquet(tmp_path / "a.parquet", {"text": [1, 2]})
    assert "holds int64, not strings" in error(tmp_path, parquet="a.parquet").problem


def test_parquet_nulls_and_bytes_that_are_not_utf8(tmp_path):
    parquet(tmp_path / "a.parquet", {"text": ["one", None]})
    caught = error(tmp_path, parquet="a.parquet")
    assert "holds null" in caught.problem
    assert caught.where == f"{tmp_path}/a.parquet:row 2"

    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    parquet(tmp_path / "a.parquet", {"text": broken})
    caught = error(tmp_path, parquet="a.parquet")
    assert "not UTF-8" in caught.problem
    assert caught.where == f"{tmp_path}/a.parquet:row 2"


def test_damaged_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    parquet(path, {"text": [f"text {n}" for n in range(5000)]})
    whole = path.read_bytes()
    for content in (b"PAR1 not at all", whole[: len(whole) // 2], whole[:200] + b"\xff" * 2000 + whole[2200:]):
        path.write_bytes(content)
        caught = error(tmp_path, parquet="a.parquet")
        assert "not a Parquet file, or damaged" in caught.problem
        assert caught.where.startswith(f"{path}:row")


def test_nothing_is_logged(tmp_path, capfd):
    (tmp_path / "a.jsonl").write_bytes(jsonl({"text": ""}, {"text": "x"}))
    assert texts(tmp_path, jsonl="a.jsonl") == ["x"]
    assert capfd.readouterr().err == ""
