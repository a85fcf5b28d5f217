from __future__ import annotations

import bz2
import html
import zipfile

import pytest

from regmix_pipeline.documents.extractors.encyclopedia import encyclopedia, plain_text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Anarchism''' is a [[political philosophy]].", "Anarchism is a political philosophy."),
        ("the term ''[[wikt:anarchism|anarchism]]''", "the term anarchism"),
        ("a{{cite|x={{nested}}}} b<ref name=x>note [[y]]</ref> c<ref name=x/>", "a b c"),
        ("==Etymology ==\nText", "Etymology\nText"),
        ("x [[File:a.jpg|thumb|A [[caption]] here]] y", "x y"),
        ("see [http://a.org the site] and [http://b.org]", "see the site and "),
        ("{| class=x\n|-\n| a {|\n| inner\n|}\n|}after", "after"),
        ("* one\n* two <!-- hidden\n -->", "one\ntwo"),
        ("[[fr:Anarchisme]][[Category:Politics]]5&nbsp;km", "5 km"),
        ("A<br />B <span>C</span> 3 < 4", "AB C 3 < 4"),
    ],
)
def test_plain_text(wikitext, text):
    assert plain_text(wikitext) == text.strip()


def page(title: str, namespace: int, text: str) -> str:
    return (
        f"<page>\n<title>{title}</title>\n<ns>{namespace}</ns>\n<text xml:space='x'>{html.escape(text)}</text></page>\n"
    )


def test_articles_only(tmp_path):
    body = "'''Ants''' &amp; their nests. " * 40
    dump = page("Ants", 0, body) + page("Talk:Ants", 1, body) + page("Ant", 0, "#REDIRECT [[Ants]]" + " " * 900)
    dump += page("Stub", 0, "short") + "<page>\n<title>Cut off</title>\n<ns>0</ns>\n<text>" + body
    name = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p1-shortened.bz2"
    with zipfile.ZipFile(tmp_path / "g.whl", "w") as wheel:
        wheel.writestr(name, bz2.compress(dump.encode()))
    ((title, text),) = encyclopedia({"gensim": tmp_path / "g.whl"})
    assert title == "Ants"
    assert text.startswith("Ants\n\nAnts & their nests.")
    assert "'''" not in text
