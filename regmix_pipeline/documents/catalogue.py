"""The kinds of files that documents are read from."""

from __future__ import annotations

from dataclasses import dataclass

from regmix_pipeline.registry import Registry


@dataclass(frozen=True)
class FileKind:
    """A kind of file that a source may name.

    Attributes:
        reader: its reader, as ``module:Class`` in `regmix_pipeline.documents.readers`.
        files: which files these are, for the study file's reference.
        endings: of their names.
        builder: name of the builder of Hugging Face's datasets that reads them; "" where there is none.
        items: whether they hold items of a task instead of documents; only a target may have such a source.
    """

    reader: str
    files: str
    endings: tuple[str, ...]
    builder: str = ""
    items: bool = False


_JSONL_ENDINGS = (
    *(f".{name}{end}" for name in ("jsonl", "ndjson") for end in ("", ".gz", ".zst", ".zstd")),
    # Public corpora of JSON lines are named so; a plain .json is more often one object.
    *(".json.gz", ".json.zst", ".json.zstd"),
)

FILE_KINDS = {
    "jsonl": FileKind(
        "jsonl:StrictJsonlReader",
        "JSON lines, also compressed by gzip or Zstandard",
        _JSONL_ENDINGS,
        "json",
    ),
    "parquet": FileKind("parquet:StrictParquetReader", "Parquet", (".parquet",), "parquet"),
    "task": FileKind("tasks:StrictTaskReader", "JSON lines of a task's items", _JSONL_ENDINGS, items=True),
}
"""Field of a source -> what it reads. Documents of built-in corpora are read as JSON lines."""

ENDINGS = {ending: name for name, kind in FILE_KINDS.items() if not kind.items for ending in kind.endings}
"""Ending -> name of the kind of documents."""

READERS = Registry("reader", __name__, {name: f"readers.{kind.reader}" for name, kind in FILE_KINDS.items()})

TOKEN_FORMATS = Registry(
    "format of token files",
    __name__,
    {
        "olmo": "token_formats.olmo:OLMO",
        "megatron": "token_formats.megatron:MEGATRON",
        "datatrove": "token_formats.datatrove:DATATROVE",
        "litdata": "token_formats.litdata:LITDATA",
    },
)
"""How text that was tokenised elsewhere is stored."""


def kind_of_file(name: str) -> str | None:
    """The kind of a file by its name's ending; None for a file of no kind."""
    return next((kind for ending, kind in ENDINGS.items() if name.lower().endswith(ending)), None)
