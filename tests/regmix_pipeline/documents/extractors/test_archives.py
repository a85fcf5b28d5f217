from __future__ import annotations

import io
import tarfile
import zipfile

from regmix_pipeline.documents.extractors.archives import chunks_of_paragraphs, decoded, tar_members, zip_members


def test_decoded_takes_utf8_and_old_latin1():
    assert decoded("né\r\nen".encode()) == "né\nen"
    assert decoded("né".encode("latin-1")) == "né"
    assert decoded(b"\xef\xbb\xbfa") == "a"


def test_zip_members_are_sorted_by_name():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("b.txt", "a.txt", "c.bin"):
            file.writestr(name, name)
    assert list(zip_members(archive, r"\.txt$")) == [("a.txt", b"a.txt"), ("b.txt", b"b.txt")]


def test_tar_members_keep_the_archive_order(tmp_path):
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in ("b.txt", "a.txt", "c.bin"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            file.addfile(member, io.BytesIO(name.encode()))
    assert [(name, content.read()) for name, content in tar_members(path, r"\.txt$")] == [
        ("b.txt", b"b.txt"),
        ("a.txt", b"a.txt"),
    ]


def test_chunks_end_with_the_paragraph_that_fills_them():
    assert list(chunks_of_paragraphs("aaa\n\nbbb\n \n\nccc", 5)) == ["aaa\n\nbbb", "ccc"]
    assert list(chunks_of_paragraphs("aaa\n\nbbb", 6)) == ["aaa\n\nbbb"]
