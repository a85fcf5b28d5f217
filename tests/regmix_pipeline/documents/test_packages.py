from __future__ import annotations

import hashlib
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regmix_pipeline.documents import packages
from regmix_pipeline.documents.packages import PACKAGES, Package, fetch, fetch_all
from regmix_pipeline.errors import DocumentError


def silent(_line: str) -> None:
    pass


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """A folder that pip takes for the only index, with one tiny wheel in it."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tinytext-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tinytext/poem.txt", "Two roads diverged in a yellow wood")
        file.writestr("tinytext-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinytext\nVersion: 1.0\n")
        file.writestr("tinytext-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tinytext-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def tiny(sha256: str) -> Package:
    return Package("tinytext", "1.0", "tinytext-1.0-py3-none-any.whl", sha256, 0.001, "none")


def test_fetched_once(local_index, tmp_path, monkeypatch):
    said: list[str] = []
    path = fetch(tiny(local_index), tmp_path / "cache", said.append)
    assert zipfile.ZipFile(path).read("tinytext/poem.txt").startswith(b"Two roads")
    assert len(said) == 1
    assert "tinytext 1.0" in said[0]
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [path.name]

    monkeypatch.setattr(packages, "_download", None)  # a second download would fail
    assert fetch(tiny(local_index), tmp_path / "cache", said.append) == path
    assert fetch_all([tiny(local_index)] * 2, tmp_path / "cache", said.append) == {"tinytext": path}
    assert len(said) == 1


def test_altered_file_in_the_cache(local_index, tmp_path):
    path = fetch(tiny(local_index), tmp_path, silent)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DocumentError, match=r"is not tinytext 1\.0 as published") as caught:
        fetch(tiny(local_index), tmp_path, silent)
    assert caught.value.where == str(path)
    assert "delete the file" in caught.value.remedy


@pytest.mark.usefixtures("local_index")
def test_index_with_another_file_is_refused_without_trying_again(tmp_path, monkeypatch):
    attempts = []
    once = packages._pip_download
    monkeypatch.setattr(packages, "_pip_download", lambda *given: (attempts.append(1), once(*given)))
    with pytest.raises(DocumentError, match="another hash") as caught:
        fetch(tiny("0" * 64), tmp_path / "cache", silent)
    assert len(attempts) == 1
    assert "by hand" in caught.value.remedy
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_is_tried_again_and_then_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(packages, "ATTEMPTS", 2)
    monkeypatch.setattr(packages, "LONGEST_WAIT", 0.0)
    attempts = []
    once = packages._pip_download
    monkeypatch.setattr(packages, "_pip_download", lambda *given: (attempts.append(1), once(*given)))
    with pytest.raises(DocumentError, match="pip could not fetch") as caught:
        fetch(tiny("0" * 64), tmp_path / "cache", silent)
    assert len(attempts) == 2
    assert caught.value.where == "tinytext==1.0"
    assert "check the network" in caught.value.remedy


@pytest.fixture
def index_without_pip(tmp_path, monkeypatch):
    """A real package index on this machine, asked by a Python that has no pip; gives the file's SHA-256."""
    folder = tmp_path / "simple" / "tinytext"
    folder.mkdir(parents=True)
    (folder / "tinytext-1.0-py3-none-any.whl").write_bytes(b"PK as it is")
    (folder / "index.html").write_text(
        "<html><body><a href='tinytext-0.9.tar.gz#sha256=0'>old</a>"
        '<a class=file href="../tinytext/tinytext-1.0-py3-none-any.whl#sha256=0">it</a></body></html>'
    )
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"own=http://127.0.0.1:{server.server_port}/simple/")
        monkeypatch.setitem(sys.modules, "pip", None)
        monkeypatch.setattr(packages, "ATTEMPTS", 1)
        yield hashlib.sha256(b"PK as it is").hexdigest()
        server.shutdown()


def test_without_pip_the_index_is_asked(index_without_pip, tmp_path):
    path = fetch(tiny(index_without_pip), tmp_path / "cache", silent)
    assert path.read_bytes() == b"PK as it is"
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [path.name]
    with pytest.raises(DocumentError, match="another hash"):
        fetch(tiny("0" * 64), tmp_path / "other", silent)
    absent = Package("tinytext", "2.0", "tinytext-2.0.tar.gz", "0" * 64, 0.001, "none")
    unknown = Package("nothing", "2.0", "nothing-2.0.tar.gz", "0" * 64, 0.001, "none")
    for package in (absent, unknown):
        with pytest.raises(DocumentError, match="does not offer that file") as caught:
            fetch(package, tmp_path / "other", silent)
        assert "UV_DEFAULT_INDEX" in caught.value.remedy
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.usefixtures("index_without_pip")
def test_an_index_that_does_not_answer_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    with pytest.raises(DocumentError, match=r"127\.0\.0\.1:9.*could not fetch") as caught:
        fetch(tiny("0" * 64), tmp_path / "cache", silent)
    assert "by hand" in caught.value.remedy


def test_the_demo_needs_less_than_200_megabytes():
    assert sum(package.megabytes for package in PACKAGES.values()) < 200
    assert all(len(package.sha256) == 64 and package.licence for package in PACKAGES.values())


@pytest.mark.network
def test_a_real_package(tmp_path):
    path = fetch(PACKAGES["allofplos"], tmp_path, silent)
    assert path.stat().st_size == 3_520_789
