"""The manifest of a token shard, and the check that the shard is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.tokens.extents import BACK, ExtentTokens, altered_file, sha256_of_tokens

MANIFEST = "manifest.json"
BYTES_OF = {"uint16": 2, "uint32": 4}
INDEX_ENTRY = 8
"""Bytes of a document's end in the index: uint64, in tokens."""
AGAIN = "delete this shard's folder and make it again"

Role = Literal["domain", "target"]


class SplitFile(Settings):
    """One split of a shard."""

    file: str
    """Name of the file of tokens, or of the list of extents where they lie; ``.index`` after it names the index."""
    tokens: int
    """Tokens, each document's eos token among them."""
    documents: int
    """Documents, duplicates dropped."""
    bytes: int
    """UTF-8 bytes of their text."""
    sha256: str
    """SHA-256 of the tokens."""
    index_sha256: str = ""
    """SHA-256 of the index."""
    extents_sha256: str = ""
    """SHA-256 of the list of extents; empty where the tokens are in a file of the shard."""

    @model_serializer(mode="wrap")
    def _as_ever(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of a split with a file of its own, the bytes are those of earlier versions."""
        return {name: value for name, value in written(self).items() if value or name != "extents_sha256"}

    @property
    def in_place(self) -> bool:
        """Whether the tokens are read where they lie, outside the shard."""
        return bool(self.extents_sha256)

    @property
    def file_sha256(self) -> str:
        """SHA-256 of the shard's own file."""
        return self.extents_sha256 or self.sha256


class ItemsFile(Settings):
    """The items of a task, beside its text; see `task_items`."""

    file: str
    """Name of the file of numbers, uint32."""
    numbers: int
    """Numbers in it."""
    sha256: str
    """SHA-256 of the file."""
    items: int
    """Items."""
    with_choices: int
    """Of these, items with choices."""
    tokens: int
    """Tokens of the right continuations."""
    bytes: int
    """UTF-8 bytes of the right continuations."""
    spanning: int
    """Right continuations whose first token holds the end of the prompt too."""


class Manifest(Settings):
    """What a token shard holds and what it was made from."""

    # A later version may say more about a shard without making it unreadable for this one.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    source: str
    """Name of the domain or target."""
    version: str
    """The shard's version: fingerprint of all that its bytes follow from."""
    tokenizer: str
    """Version of the tokenizer."""
    vocabulary: int
    """Size of the tokenizer's vocabulary."""
    dtype: Literal["uint16", "uint32"]
    """Type of a token, little-endian."""
    splits: dict[str, SplitFile]
    """``train`` and ``validation``; a target that is not a domain has only the latter."""
    duplicates: int
    """Documents dropped because their text had been read before."""
    documents_version: str
    """Version of the documents, as observed."""
    role: Role = "domain"
    """Whether there is a split to train on."""
    without_text: int = 0
    """Documents left out because their text was empty."""
    eos_id: int | None = None
    """The token that ends each document."""
    items: ItemsFile | None = None
    """The items, where the source is a task."""

    def as_json(self) -> dict[str, Any]:
        """What `manifest.json` holds. Of text nothing is said of items, as before there were tasks."""
        return self.model_dump(exclude=None if self.items else {"items"})

    def totals(self, what: Literal["tokens", "documents", "bytes"]) -> int:
        """Sum over the splits."""
        return sum(getattr(split, what) for split in self.splits.values())


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a shard's folder. Raises TokenError where it is missing or malformed."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise TokenError("there is no token shard here", where=str(folder), remedy="make the shard first") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise TokenError(f"malformed manifest: {error}", where=str(path), remedy=AGAIN) from error


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Compare the sizes of the shard's files with the manifest: quick, and enough to see a missing or cut file."""
    for split in manifest.splits.values():
        sizes = {f"{split.file}.index": split.documents * INDEX_ENTRY}
        if split.in_place:
            if (held := len(ExtentTokens(folder / split.file))) != split.tokens:
                raise TokenError(
                    f"lists {held:,} tokens where the manifest states {split.tokens:,}",
                    where=str(folder / split.file),
                    remedy=AGAIN,
                )
        else:
            sizes[split.file] = split.tokens * BYTES_OF[manifest.dtype]
        for name, expected in sizes.items():
            _check_size(folder / name, expected)
    if manifest.items is not None:
        _check_size(folder / manifest.items.file, manifest.items.numbers * BYTES_OF["uint32"])


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise TokenError("a file of the token shard is missing", where=str(path), remedy=AGAIN)
    if (found := path.stat().st_size) != expected:
        raise TokenError(f"has {found:,} bytes where the manifest states {expected:,}", where=str(path), remedy=AGAIN)


def check_tokens_in_place(folder: Path, dtype: str, split: SplitFile) -> None:
    """Compare tokens that lie outside the shard with their checksum. Raises TokenError naming the files."""
    if not split.in_place or sha256_of_tokens(folder / split.file, dtype) == split.sha256:
        return
    raise TokenError(
        "was altered after the shard was made that reads it", where=str(altered_file(folder / split.file)), remedy=BACK
    )


def verify_shard(folder: Path) -> Manifest:
    """Check every file of a shard against its manifest, sizes and SHA-256; return the manifest.

    Raises:
        TokenError: naming the file that is missing or altered.
    """
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    sums = [(split.file, split.file_sha256) for split in manifest.splits.values()]
    sums += [(f"{split.file}.index", split.index_sha256) for split in manifest.splits.values()]
    sums += [(manifest.items.file, manifest.items.sha256)] if manifest.items else []
    for name, expected in sums:
        if expected and sha256_of(folder / name) != expected:
            raise TokenError("was altered after the shard was made", where=str(folder / name), remedy=AGAIN)
    for split in manifest.splits.values():
        check_tokens_in_place(folder, manifest.dtype, split)
    return manifest
