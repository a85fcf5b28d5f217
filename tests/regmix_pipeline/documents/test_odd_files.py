"""Files as other tools write them: compressed under another name, with a long window, in another encoding."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from regmix_pipeline.documents.readers import reader
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.study.settings.documents import Source, safe_name

TEXT = "".join(json.dumps({"id": str(n), "text": f"{n} words of a document"}) + "\n" for n in range(50)).encode()


def long_window(content):
    window = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True, write_content_size=False)
    return zstandard.ZstdCompressor(compression_params=window).compress(content)


def skippable(content):
    return b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note" + zstandard.ZstdCompressor().compress(content)


WRITTEN = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "long": long_window, "skip": skippable}


def texts_in(folder, name, content):
    (folder / name).write_bytes(content)
    source = Source(jsonl=name)
    return [document.text for document in reader(source, folder, folder / "data").run()]


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.zst", "a.json.gz"])
def test_what_a_file_holds_counts_and_not_its_name(tmp_path, how, name):
    assert len(texts_in(tmp_path, name, WRITTEN[how](TEXT))) == 50


def test_plain_text_under_a_compressed_name_is_named(tmp_path):
    with pytest.raises(DocumentError, match="named as compressed") as caught:
        texts_in(tmp_path, "a.jsonl.gz", TEXT)
    assert "a.jsonl.gz" in caught.value.where


def test_utf_16_gets_a_remedy_that_does_not_spoil_it(tmp_path):
    content = TEXT.decode().encode("utf-16")
    with pytest.raises(DocumentError, match="UTF-16") as caught:
        texts_in(tmp_path, "a.jsonl", content)
    assert "iconv -f utf-16 -t utf-8" in caught.value.remedy
    assert len(texts_in(tmp_path, "b.jsonl", content.decode("utf-16").encode())) == 50


def test_nan_in_another_field_is_read_and_other_rubbish_is_not(tmp_path):
    odd = b'{"score": NaN, "text": "one"}\n{"text": "two", "low": -Infinity}\n'
    assert texts_in(tmp_path, "a.jsonl", odd) == ["one", "two"]
    with pytest.raises(DocumentError, match="malformed JSON") as caught:
        texts_in(tmp_path, "b.jsonl", odd + b'{"text": "three" NaN}\n')
    assert caught.value.where.endswith("b.jsonl:3")


def test_names_that_begin_alike_stay_two():
    assert safe_name("x" * 70 + "a") != safe_name("x" * 70 + "b")
    assert len(safe_name("x" * 70 + "a")) == 63
    assert safe_name("???") == ""


def _odd_ids(rows):
    ends = pa.array([4 * n for n in range(rows + 1)], pa.int32()).buffers()[1]
    return {
        "bytes": pa.StringArray.from_buffers(rows, ends, pa.py_buffer(b"\xff\xfe\xfd\xfc" * rows)),
        "dates": pa.array([10**15 + n for n in range(rows)], pa.timestamp("ms")),
        "zones": pa.array(range(rows), pa.timestamp("s", tz="Nowhere/Nothing")),
        "nested": pa.array([{"a": [n]} for n in range(rows)]),
        "some": pa.array([None, "x", *map(str, range(rows - 2))]),
    }


@pytest.mark.parametrize("kind", _odd_ids(2))
def test_ids_that_python_cannot_hold_do_not_matter(tmp_path, kind):
    texts = [f"{n} words of a document, and some more of them" for n in range(40)]
    pq.write_table(pa.table({"text": pa.array(texts), "id": _odd_ids(40)[kind]}), tmp_path / "a.parquet")
    source = Source(parquet="a.parquet")
    assert [document.text for document in reader(source, tmp_path, tmp_path / "data").run()] == texts
