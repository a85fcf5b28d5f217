"""Files as other tools write them: compressed under another name, with a long window, in another encoding."""

import gzip
import json

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
