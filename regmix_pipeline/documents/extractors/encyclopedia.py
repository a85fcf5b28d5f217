"""Wikipedia articles as plain text."""

from __future__ import annotations

import bz2
import html
import re
from collections.abc import Mapping
from pathlib import Path

from regmix_pipeline.documents.extractors.archives import Extracted, zip_members

SHORTEST_ARTICLE = 500
"""Characters: what is shorter after stripping is a stub or a list of links."""

_PAGE = re.compile(r"<page>\s*<title>(?P<title>.*?)</title>\s*<ns>0</ns>.*?<text[^>]*>(?P<text>.*?)</text>", re.DOTALL)
_NOT_TEXT = re.compile(
    r"<!--.*?-->|<ref[^>]*/>|<(ref|math|gallery|timeline|score|imagemap|table|div)\b[^>]*>.*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
_EMBEDDED = re.compile(
    r"\[\[(?:File|Image|Category|[a-z]{2,3}(?:-[a-z]+)?):(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]", re.IGNORECASE
)
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]]*)\]\]")
_EXTERNAL = re.compile(r"\[(?:https?:)?//\S+ ?([^\]\n]*)\]")
_HEADING = re.compile(r"^(=+) *(.*?) *\1 *$", re.MULTILINE)
_QUOTES = re.compile(r"'{2,5}")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_WORD = re.compile(r"__[A-Z]+__")
_LIST_MARK = re.compile(r"^[*#:;]+ *", re.MULTILINE)
_EMPTY_BRACKETS = re.compile(r" ?\([ ,;]*\)")


def encyclopedia(packages: Mapping[str, Path]) -> Extracted:
    """Articles of the English Wikipedia without markup, templates, tables and references, in the dump's order."""
    for _, content in zip_members(packages["gensim"], r"/test_data/enwiki-latest-pages-articles1\.xml-.*\.bz2$"):
        # The sample is the beginning of a dump, cut off in mid-page: the last bytes may be half a character.
        dump = bz2.BZ2Decompressor().decompress(content).decode("utf-8", errors="ignore")
        for page in _PAGE.finditer(dump):
            wikitext = html.unescape(page["text"])
            if wikitext.lstrip().upper().startswith("#REDIRECT"):
                continue
            text = plain_text(wikitext)
            if len(text) >= SHORTEST_ARTICLE:
                title = html.unescape(page["title"])
                yield title, f"{title}\n\n{text}"


def plain_text(wikitext: str) -> str:
    """Wikitext without its markup. Links keep their label, headings their words; what cannot nest well is dropped."""
    text = _NOT_TEXT.sub("", wikitext)
    changed = 1
    while changed:
        text, changed = _INNERMOST.subn("", text)
    text = _LINK.sub(r"\1", _EMBEDDED.sub("", text))
    text = _EXTERNAL.sub(r"\1", text)
    text = _HEADING.sub(r"\2", text)
    for markup in (_TAG, _QUOTES, _WORD, _LIST_MARK, _EMPTY_BRACKETS):
        text = markup.sub("", text)
    # Entities may be escaped twice in a dump: &amp;nbsp;
    text = html.unescape(text).replace("\u00a0", " ")
    return re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", text)).strip()
