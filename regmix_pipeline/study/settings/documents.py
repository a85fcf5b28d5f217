"""Where the text of one domain or target comes from."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from regmix_pipeline.addresses import without_credentials
from regmix_pipeline.documents.catalogue import FILE_KINDS
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.token_files import TokenFiles

KINDS = ("corpus", *FILE_KINDS, "tokens")

LONGEST_SHOWN = 80
"""Characters of a name that an error repeats."""
LONGEST = 63
"""Characters of a name."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")


def check_name(name: str) -> str:
    """Return ``name`` if it can name a domain, a folder, a column and a partition without quoting; else ValueError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = repr(name) if len(str(name)) <= LONGEST_SHOWN else f"{str(name)[:LONGEST_SHOWN]!r} and so on"
        raise ValueError(
            f"{shown} is not a safe name: use 1 to 63 lower-case letters, digits and underscores, beginning with a "
            f"letter or digit, for instance {(safe_name(str(name)) or 'books')!r}"
        )
    return name


def safe_name(text: str) -> str:
    """A safe name like ``text``, "" if it has no letter or digit. Letters of other scripts become their numbers.

    >>> [safe_name(text) for text in ("train/Pile CC", "C++", "Caf\u00e9", "\u65b0")]
    ['train_pile_cc', 'cplusplus', 'cafe', 'u65b0']
    """
    plain = unicodedata.normalize("NFKD", text.replace("+", "plus").replace("#", "sharp")).lower()
    letters = (
        each if each.isascii() or not each.isalnum() else f"u{ord(each):x}"
        for each in plain
        if not unicodedata.combining(each)
    )
    found = re.sub(r"[^a-z0-9]+", "_", "".join(letters)).strip("_")
    if len(found) <= LONGEST:
        return found
    # Two names that begin alike stay two.
    return f"{found[: LONGEST - 9]}_{hashlib.sha256(found.encode()).hexdigest()[:8]}"


class SourceBase(Settings):
    """A source of documents: what all have in common, whatever the kind of their files."""

    corpus: str | None = None
    """Name of a built-in corpus of the demo."""
    tokens: TokenFiles | None = None
    """Text that was tokenised elsewhere with the study's tokenizer: files of OLMo, Megatron, datatrove or litdata."""
    text_field: str = Field(default="text", min_length=1)
    """Field that holds a document's text."""
    id_field: str = Field(default="id", min_length=1)
    """Field that holds a document's id; it may be absent in the data."""
    max_documents: int | None = Field(default=None, gt=0)
    """Read no more than so many documents, the first in reading order."""
    max_bytes: int | None = Field(default=None, gt=0)
    """Stop reading once so many UTF-8 bytes of text are taken, in reading order; the last document is taken whole."""

    @field_validator("corpus")
    @classmethod
    def _known_corpus(cls, name: str | None) -> str | None:
        from regmix_pipeline.documents.corpora import CORPORA

        if name is not None and name not in CORPORA:
            near = difflib.get_close_matches(name, CORPORA, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the built-in corpora are {', '.join(CORPORA)}"
            raise ValueError(f"there is no built-in corpus {name!r}: {hint}")
        return name

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(
                f"a source needs exactly one of {', '.join(KINDS)}, this one has {found}: "
                "for instance {jsonl: data/books/*.jsonl}"
            )
        of_text = self.model_fields_set & {"text_field", "id_field"}
        if self.tokens is not None and of_text:
            raise ValueError(f"{min(of_text)} is of text, and this source has tokens: leave it out")
        return self

    @property
    def kind(self) -> str:
        """Which field says where the documents are: one of `KINDS`."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def file_kind(self) -> str:
        """The kind of the files: one of `FILE_KINDS`, or tokens."""
        return "jsonl" if self.kind == "corpus" else self.kind

    @property
    def is_task(self) -> bool:
        """Whether it holds items of a task instead of documents."""
        return self.tokens is None and FILE_KINDS[self.file_kind].items

    @property
    def address(self) -> str:
        """The corpus name, glob or fsspec address as the study file gives it."""
        return self.tokens.path if self.tokens is not None else getattr(self, self.kind)

    @property
    def remote(self) -> bool:
        """Whether an fsspec file system beyond local paths is asked."""
        return "://" in self.address or "::" in self.address

    def at(self, address: str) -> Self:
        """The same source at another address."""
        place = address if self.tokens is None else self.tokens.model_copy(update={"path": address})
        return self.model_copy(update={self.kind: place})

    def label(self) -> str:
        """A short human description, for instance ``corpus pubmed, first 4 MB``; without credentials."""
        limits = []
        if self.max_documents is not None:
            limits.append(f"first {self.max_documents:,} documents")
        if self.max_bytes is not None:
            limits.append(f"first {self.max_bytes / 1e6:g} MB")
        return ", ".join([f"{self.kind} {without_credentials(self.address)}", *limits])

    def reading(self) -> dict[str, Any]:
        """The settings that change which text is read from given files: part of the documents' version."""
        if self.tokens is not None:
            stated = self.tokens.model_dump(include={"format", "dtype"})
            return {"kind": "tokens", **stated, "max_documents": self.max_documents, "max_bytes": self.max_bytes}
        return {
            "kind": self.file_kind,
            "text_field": self.text_field,
            "max_documents": self.max_documents,
            "max_bytes": self.max_bytes,
        }


def _address_given(address: str | None) -> str | None:
    if address is not None and not address.strip():
        raise ValueError("the address is empty: give a glob such as data/books/*.jsonl or an fsspec address")
    return address


if TYPE_CHECKING:
    Source = SourceBase
else:
    Source = create_model(
        "Source",
        __base__=SourceBase,
        __doc__=f"A source of documents: exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}.",
        __module__=__name__,
        **{
            name: (
                Annotated[str | None, AfterValidator(_address_given)],
                Field(
                    default=None,
                    description=f"Glob or fsspec address of {kind.files} files; relative: from the study file's "
                    "folder.",
                ),
            )
            for name, kind in FILE_KINDS.items()
        },
    )
