"""What a format is given of each domain's data: files, tokens, how long a document is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from regmix_pipeline.documents.catalogue import FILE_KINDS
from regmix_pipeline.errors import StudyError

Need = Literal["nothing", "token files", "text", "template"]
"""What a format can take from the study itself: nothing is needed, its token shards, its text, or neither."""
FIELD = "{domain}"


@dataclass(frozen=True)
class DataFile:
    """A file, or the address of all files of a domain, and the tokens in it; None where nobody knows."""

    address: str
    tokens: int | None = None


@dataclass(frozen=True)
class DomainData:
    """What a run can draw on for one domain.

    Attributes:
        files: its files as the trainer is given them, or one address for all of them.
        available: tokens in them; None where nobody knows.
        counted: the files found behind one address, with the tokens in each.
        tokens_per_document: mean over the training split of the study's own text; None where the study has none.
        dtype: type of a token in a headless token file; "" for anything else.
        text_field: field that holds a document's text; "" for anything but documents.
        reader: loader of `datasets` for these files, json or parquet; "" where nobody knows.
        note: what a reader of the files has to know of these data.
        remedy: how the domain could get more tokens.
    """

    files: tuple[DataFile, ...]
    available: int | None
    counted: tuple[DataFile, ...] = ()
    tokens_per_document: float | None = None
    dtype: str = ""
    text_field: str = ""
    reader: str = ""
    note: str = ""
    remedy: str = "add text to the domain"

    @property
    def address(self) -> str:
        """The first address; the only one unless the files are known one by one."""
        return self.files[0].address

    @property
    def listed(self) -> tuple[DataFile, ...]:
        """The files one by one, as far as they are known."""
        return self.counted or self.files


def check_template(template: str, where: str = "--data") -> None:
    """Raise StudyError unless a template has ``{domain}`` in it, and no other field."""
    fields = re.findall(r"\{\w*\}", template)
    if set(fields) != {FIELD}:
        raise StudyError(
            f"{template!r} has {', '.join(fields) or 'no field'} where {FIELD} is wanted",
            where=where,
            remedy=f"put {FIELD} where a domain's name goes, for instance 's3://bucket/{FIELD}'",
        )


def reader_of(address: str) -> str:
    """Loader of `datasets` for the files at an address, by their names; "" where those do not say."""
    found = next((kind.builder for kind in FILE_KINDS.values() if any(end in address for end in kind.endings)), "")
    return found or ("json" if re.search(r"\.json(\.|$)", address) else "")
