"""A shard of tokens that exist: each split is a list of extents of the files that hold them, and nothing is copied.

Documents are divided by the hash of their text, as those of text sources are: the same text is in the same split and
has the same tokens, whichever way it came.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.documents.token_files import token_data
from regmix_pipeline.documents.token_formats.base import BLOCK, TokenPart
from regmix_pipeline.errors import TokenError
from regmix_pipeline.files import sha256_of
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.extents import ENDING, TokensIn, write_extents, write_paths
from regmix_pipeline.tokens.manifest import MANIFEST, SplitFile
from regmix_pipeline.tokens.split import DIGEST_BYTES, SplitName, split_of
from regmix_pipeline.tokens.text_of_tokens import decoder_of
from regmix_pipeline.tokens.tokenizer import TokenizerFile


@dataclass
class _Split:
    """One split as it grows: its extents, the end of each document, and the hash of all its tokens."""

    extents: list[tuple[int, int, int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, file: int, start: int, tokens: NDArray[Any], size: int) -> None:
        """A document: ``tokens`` from ``start`` of a file, which stand for ``size`` bytes of text."""
        length = len(tokens)
        if self.extents and self.extents[-1][0] == file and sum(self.extents[-1][1:]) == start:
            self.extents[-1] = (file, self.extents[-1][1], self.extents[-1][2] + length)
        else:
            self.extents.append((file, start, length))
        self.ends.append((self.ends[-1] if self.ends else 0) + length)
        self.bytes += size
        self.digest.update(tokens.tobytes())


@dataclass(frozen=True)
class InPlace:
    """What a source of tokens holds, once it was read: see `Manifest`."""

    splits: dict[str, SplitFile]
    dtype: str
    duplicates: int
    without_text: int


def written_in_place(
    source: Source,
    base: Path,
    tokenizer: TokenizerFile,
    folder: Path,
    splits: Sequence[SplitName],
    settings: ShardSettings,
    sums: Mapping[str, str],
) -> InPlace:
    """Read a source of tokens and write the lists of extents of its splits into ``folder``.

    Args:
        source: the source.
        base: folder that a relative path starts at.
        tokenizer: the study's tokenizer.
        folder: where to write.
        splits: to divide the documents among.
        settings: seed and validation fraction.
        sums: path -> SHA-256 of every file of the source.

    Raises:
        DocumentError: nothing matches, or a file is cut, of another format, or not what its index says.
        TokenError: the tokens are not those of the study's tokenizer, as far as numbers show.
    """
    _check_stated(source, tokenizer)
    assert source.tokens is not None
    parts = [
        part
        for data in token_data(source, base)
        for part in data.parts(source.tokens, tokenizer.vocab_size, tokenizer.eos_id)
    ]
    dtype = _one_type(parts)
    made: dict[str, _Split] = {split: _Split() for split in splits}
    counts = _divide(parts, source, tokenizer, made, settings)
    files = [
        TokensIn(Path(part.path), part.offset, len(part.tokens), os.path.getsize(part.path), sums[part.path])
        for part in parts
    ]
    written = {}
    for name, split in made.items():
        path = folder / f"{name}{ENDING}"
        write_extents(path, dtype, files, split.extents)
        index = folder / f"{path.name}.index"
        np.asarray(split.ends, "<u8").tofile(index)
        written[name] = SplitFile(
            file=path.name,
            tokens=split.ends[-1] if split.ends else 0,
            documents=len(split.ends),
            bytes=split.bytes,
            sha256=split.digest.hexdigest(),
            index_sha256=sha256_of(index),
            extents_sha256=sha256_of(path),
        )
    return InPlace(written, dtype, *counts)


def found_again(shard: Path, source: Source, base: Path) -> bool:
    """Let a shard that is there read its files where they lie now; returns whether they were moved.

    Raises:
        DocumentError: as `token_data`.
    """
    files = [Path(path) for data in token_data(source, base) for path in data.format.data(data.main)]
    return (shard / MANIFEST).is_file() and write_paths(shard, files)


def _check_stated(source: Source, tokenizer: TokenizerFile) -> None:
    """Raise TokenError where the study file says other numbers of the source's tokenizer than the study's has."""
    stated = source.tokens
    assert stated is not None
    for what, said, has in (
        ("vocabulary", stated.vocabulary, tokenizer.vocab_size),
        ("eos_id", stated.eos_id, tokenizer.eos_id),
    ):
        if said is not None and said != has:
            raise TokenError(
                f"tokens.{what} is {said:,}, and the study's tokenizer has {has:,} ({tokenizer.eos_token} ends its "
                "documents)",
                where=f"tokens: {stated.path}",
                remedy="give the study the tokenizer and the eos_token that these tokens were made with",
            )


def _one_type(parts: Sequence[TokenPart]) -> str:
    first = parts[0]
    other = next((part for part in parts if part.dtype != first.dtype), None)
    if other is not None:
        raise TokenError(
            f"holds {other.dtype} tokens where {first.path} holds {first.dtype}",
            where=other.path,
            remedy="make a domain of each type, or write them again as one",
        )
    return first.dtype


def _divide(
    parts: Sequence[TokenPart],
    source: Source,
    tokenizer: TokenizerFile,
    made: dict[str, _Split],
    settings: ShardSettings,
) -> tuple[int, int]:
    """Put every document into its split; returns how many were duplicates, and how many had no text."""
    decode, seen = decoder_of(tokenizer.path), set()
    duplicates = without_text = documents = size = 0
    only = next(iter(made)) if len(made) == 1 else None
    for number, part in enumerate(parts):
        tokens, start = part.tokens, 0
        _check_known(part, tokenizer)
        for end in part.ends.tolist():
            own, first, start = np.asarray(tokens[start:end]), start, end
            text = decode(own.tolist())
            if _is_blank(text):
                without_text += 1
                continue
            documents, size = documents + 1, size + len(text)
            digest = hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()
            if digest in seen:
                duplicates += 1
            else:
                seen.add(digest)
                split = only or split_of(digest, settings.seed, settings.validation_fraction)
                made[split].add(number, first, own, len(text))
            if documents == source.max_documents or (source.max_bytes is not None and size >= source.max_bytes):
                return duplicates, without_text
    return duplicates, without_text


def _is_blank(text: bytes) -> bool:
    """Whether a text is only white space, of which Unicode has more than bytes know."""
    return not text.strip() or (len(text) < 64 and not text.decode(errors="replace").strip())


def _check_known(part: TokenPart, tokenizer: TokenizerFile) -> None:
    """Raise TokenError where a token is beyond the tokenizer's vocabulary."""
    tokens = part.tokens
    for start in range(0, len(tokens), BLOCK):
        block = np.asarray(tokens[start : start + BLOCK])
        if len(block) and int(block.max()) >= tokenizer.vocab_size:
            place = start + int(np.argmax(block >= tokenizer.vocab_size))
            document = int(np.searchsorted(part.ends, place, side="right")) + 1
            raise TokenError(
                f"token {int(tokens[place]):,} at place {place:,}, in document {document:,}, is not one of the study's "
                f"tokenizer, whose vocabulary is {tokenizer.vocab_size:,}",
                where=part.path,
                remedy="check tokens.dtype, and that the study's tokenizer is the one that made these files",
            )
