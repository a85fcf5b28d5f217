"""Text that was tokenised elsewhere, as a source of the study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from regmix_pipeline.documents.catalogue import TOKEN_FORMATS
from regmix_pipeline.study.settings.base import Settings

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(TOKEN_FORMATS)]


class TokenFiles(Settings):
    """Files of tokens that a trainer reads already. They are read where they lie, and nothing of them is copied."""

    path: str = Field(min_length=1)
    """Path or glob of the files on a disk: OLMo's .npy, Megatron's prefix (of .bin and .idx), datatrove's .ds, or a
    folder of litdata's chunks; relative: from the study file's folder."""
    tokenizer: str = Field(min_length=1)
    """The tokenizer that made them, by the name that the study's `tokenizer` has: its `hub`, `name` or `file`."""
    format: FormatName | None = None
    """What the files are. Default: found by their first bytes and their names."""
    dtype: Literal["uint16", "uint32"] | None = None
    """Type of a token in files that do not say it, which are OLMo's without a header. Default: uint16 where the
    tokenizer's vocabulary fits, as OLMo writes them."""
    vocabulary: int | None = Field(default=None, gt=1)
    """Size of their vocabulary; it must be that of the study's tokenizer. Default: not compared."""
    eos_id: int | None = Field(default=None, ge=0)
    """The token that ends a document in them; it must be that of the study's tokenizer. Default: not compared."""

    @field_validator("path")
    @classmethod
    def _on_a_disk(cls, path: str) -> str:
        if "://" in path or "::" in path:
            raise ValueError(
                f"{path!r} is not on a disk: tokens are read where they lie; copy them, or mount the store"
            )
        return path
