"""A blend and counts of tokens, read from files."""

from __future__ import annotations

from pathlib import Path

from regmix_pipeline.blends.blend import REMEDY, Blend, Content
from regmix_pipeline.blends.catalogue import BLENDS
from regmix_pipeline.blends.rows import DOCUMENTS, EPOCHS, NAMES, TOKENS, count, csv_rows, first_of
from regmix_pipeline.errors import MixtureError, StudyError
from regmix_pipeline.study.file import decoded, parsed_yaml

LARGEST = 8 * 2**20
"""Bytes of a file beyond which it is not a blend."""
TEXTS = (".csv", ".tsv", ".txt", ".py")
"""Endings of files that are not YAML, though a YAML reader might take them for it."""


def read_blend(path: Path, form: str | None = None) -> Blend:
    """The blend in a file.

    Args:
        path: the file.
        form: name of its format; by default the first that fits.

    Raises:
        MixtureError: it cannot be read, holds no blend, or a weight is not a number.
        StudyError: no such format.
    """
    content = _content(path)
    if form is not None:
        readers = {form: BLENDS.find(form, "--format")}
    else:
        readers = {name: BLENDS[name] for name in BLENDS if name != "python" or path.suffix == ".py"}
    for read in readers.values():
        if (blend := read(content)) is not None:
            return blend
    raise MixtureError(
        f"is not a blend of the format {form}" if form else f"is not a blend in any of the formats {', '.join(BLENDS)}",
        where=str(path),
        remedy=REMEDY,
    )


def read_counts(path: Path) -> dict[str, dict[str, float]]:
    """Name of a source -> tokens, documents, max_epochs, as far as a table states them.

    Args:
        path: CSV, JSON or YAML: rows with a name and tokens, or a mapping of names and tokens.

    Raises:
        MixtureError: it cannot be read, or states no tokens.
    """
    content = _content(path)
    value = content.value
    if isinstance(value, dict):
        rows = [(str(name), row if isinstance(row, dict) else {"tokens": row}) for name, row in value.items()]
        rows = [(place, {"name": place, **row}) for place, row in rows]
    elif isinstance(value, list):
        rows = [(str(place), row) for place, row in enumerate(value) if isinstance(row, dict)]
    else:
        rows = csv_rows(content)
    found: dict[str, dict[str, float]] = {}
    for place, row in rows:
        name = first_of(row, NAMES)
        counts = {
            what: number
            for what, columns in (("tokens", TOKENS), ("documents", DOCUMENTS), ("max_epochs", EPOCHS))
            if (number := count(first_of(row, columns), content.at(place))) is not None
        }
        if name is not None and counts:
            found[str(name).strip()] = counts
    if not any("tokens" in counts for counts in found.values()):
        raise MixtureError(
            "states no tokens of any source",
            where=str(path),
            remedy="give a table with the columns source and tokens, and perhaps documents and max_epochs",
        )
    return found


def _content(path: Path) -> Content:
    try:
        text = decoded(path, LARGEST, "a blend", REMEDY)
    except StudyError as error:
        raise MixtureError(error.problem, where=error.where, remedy=error.remedy) from error
    if path.suffix in TEXTS:
        return Content(path, text, None)
    try:
        return Content(path, text, parsed_yaml(text, path)[1])
    except StudyError as error:
        if path.suffix in (".yaml", ".yml", ".json"):
            raise MixtureError(error.problem, where=error.where, remedy=error.remedy) from error
        return Content(path, text, None)
