from __future__ import annotations

import zipfile

from regmix_pipeline.documents.extractors import notation


def test_standard_library_has_no_installed_packages_and_no_tests():
    paths = notation.standard_library()
    assert paths == sorted(paths)
    parts = {part for path in paths for part in path.parts[-3:-1]}
    assert not parts & notation.NOT_LIBRARY
    assert {"argparse.py", "json"} <= {path.name for path in paths} | parts


def test_code_python_is_the_library_itself():
    documents = dict(notation.code_python({}))
    assert "class ArgumentParser" in documents["argparse.py"]
    assert sum(map(len, documents.values())) > 5_000_000


def test_music_is_cut_into_tunes(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.whl", "w") as wheel:
        wheel.writestr("music21/corpus/folk/a.abc", "% a book\nX:1\nT:One\nK:C\nCDE\n\nX:2\nT:Two\nK:G\nGAB\n")
        wheel.writestr("music21/corpus/bach/b.krn", "**kern\n4c\nX:1\n*-\n")
        wheel.writestr("music21/corpus/bach/b.mxl", "no text")
    found = list(notation.music({"music21": tmp_path / "m.whl"}))
    assert found == [
        ("bach/b.krn/0", "**kern\n4c\nX:1\n*-"),
        ("folk/a.abc/0", "% a book\nX:1\nT:One\nK:C\nCDE"),
        ("folk/a.abc/1", "X:2\nT:Two\nK:G\nGAB"),
    ]
