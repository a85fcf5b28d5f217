"""Documents to token shards: exact duplicates dropped, split by hash of the text, whole or absent."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from regmix_pipeline.documents.leftovers import sweep
from regmix_pipeline.documents.observe import observe
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.documents.settings import Source, check_name
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import fingerprint, folder_written_atomically, sha256_of, write_json
from regmix_pipeline.progress import Say, clock, to_stderr
from regmix_pipeline.tokens.manifest import (
    MANIFEST,
    Manifest,
    Role,
    SplitFile,
    check_sizes,
    read_manifest,
    verify_shard,
)
from regmix_pipeline.tokens.settings import ShardSettings
from regmix_pipeline.tokens.split import SplitName
from regmix_pipeline.tokens.tokenizer import TokenizerFile

__all__ = ["Manifest", "expected_shard_version", "make_shard", "read_manifest", "shard_folder", "verify_shard"]

CODE_VERSION = 1
"""To be raised when equal documents would become other tokens or another split."""
SPLITS: dict[Role, tuple[SplitName, ...]] = {"domain": ("train", "validation"), "target": ("validation",)}


def expected_shard_version(
    documents_version: str, tokenizer: TokenizerFile, settings: ShardSettings, role: Role = "domain"
) -> str:
    """The version that a shard of these documents has or will have; nothing is read.

    The split's seed and fraction count for a domain only, as a target is not divided. ``min_tokens`` never does.
    """
    division = [settings.seed, settings.validation_fraction] if role == "domain" else None
    return fingerprint(
        "token shard", CODE_VERSION, role, documents_version, tokenizer.version, tokenizer.eos_id, division
    )


def shard_folder(folder: Path, name: str, version: str) -> Path:
    """Where the shard of source ``name`` lies under the folder of shards."""
    return folder / name / version


def make_shard(
    name: str,
    source: Source,
    base: Path,
    data_folder: Path,
    tokenizer: TokenizerFile,
    folder: Path,
    settings: ShardSettings,
    role: Role = "domain",
    documents_version: str | None = None,
    say: Say = to_stderr,
) -> Manifest:
    """Tokenize a source into ``folder/name/version``; a shard that is there already is returned as it is.

    Args:
        name: safe name of the domain or target.
        source: where its documents are.
        base: folder that relative globs start at (the study file's).
        data_folder: where the built-in corpora and the checksums of files are kept.
        tokenizer: the study's tokenizer.
        folder: the folder of all shards.
        settings: seed, validation fraction and tokens that each split must have.
        role: ``domain`` for both splits, ``target`` for a set that is only evaluated on.
        documents_version: version that `observe` gave; observed now unless given.
        say: told what was made.

    Raises:
        DocumentError: no documents, damaged documents, or documents that changed since they were observed.
        TokenError: a split has fewer tokens than ``settings.min_tokens``. Nothing is left behind in either case.
    """
    check_name(name)
    version = documents_version or observe(source, base, data_folder, say).version
    shard = shard_folder(folder, name, expected_shard_version(version, tokenizer, settings, role))
    if (shard / MANIFEST).exists():
        manifest = read_manifest(shard)
        if _whole(shard, manifest):
            _check_enough(manifest, settings)
            return manifest
        say(f"  {name}: a file of the shard is missing or cut short, so it is made again")
        shutil.rmtree(shard)
    started = time.monotonic()
    sweep(shard.parent)
    try:
        with folder_written_atomically(shard) as temporary:
            made = _tokenized(name, source, base, data_folder, tokenizer, temporary, settings, role)
            manifest = Manifest.model_validate(made | {"version": shard.name, "documents_version": version})
            _check_enough(manifest, settings)
            if observe(source, base, data_folder, say).version != version:
                raise DocumentError(
                    "the documents have changed since they were observed",
                    where=f"{name} ({source.label()})",
                    remedy="run again once nothing writes to them any more",
                )
            write_json(temporary / MANIFEST, manifest.model_dump())
    finally:
        if shard.parent.is_dir() and not any(shard.parent.iterdir()):
            shard.parent.rmdir()
    say(
        f"  tokenized {name:<24} {manifest.totals('tokens') / 1e6:6.2f} M tokens in {manifest.totals('documents'):,} "
        f"documents, {manifest.duplicates:,} duplicates dropped · {clock(time.monotonic() - started)}"
    )
    return manifest


def _whole(shard: Path, manifest: Manifest) -> bool:
    try:
        check_sizes(shard, manifest)
    except TokenError:
        return False
    return True


def _tokenized(
    name: str,
    source: Source,
    base: Path,
    data_folder: Path,
    tokenizer: TokenizerFile,
    folder: Path,
    settings: ShardSettings,
    role: Role,
) -> dict[str, Any]:
    """Run reader, removal of duplicates and tokenizer into ``folder``; return the manifest but for the versions."""
    from regmix_pipeline.tokens.steps import DropDuplicates, SplitTokenizer

    # Steps are chained here and not by an executor: its logging folder would skip a shard whose inputs have changed.
    read, drop = reader(source, base, data_folder), DropDuplicates()
    write = SplitTokenizer(folder, tokenizer, SPLITS[role], settings.seed, settings.validation_fraction)
    write.run(drop.run(read.run()))
    if not any(write.documents.values()):
        raise DocumentError(
            f"{role} {name} has no documents with text"
            + (f" ({read.without_text:,} are empty)" if read.without_text else ""),
            where=source.label(),
            remedy="give it documents, or leave it out of the study",
        )
    splits = {
        split: SplitFile(
            file=f"{split}.ds",
            tokens=write.tokens[split],
            documents=write.documents[split],
            bytes=write.bytes[split],
            sha256=sha256_of(folder / f"{split}.ds"),
            index_sha256=sha256_of(folder / f"{split}.ds.index"),
        )
        for split in SPLITS[role]
    }
    return {
        "source": name,
        "tokenizer": tokenizer.version,
        "dtype": tokenizer.dtype,
        "splits": splits,
        "duplicates": drop.duplicates,
        "role": role,
        "without_text": read.without_text,
        "eos_id": tokenizer.eos_id,
    }


def _check_enough(manifest: Manifest, settings: ShardSettings) -> None:
    """Raise TokenError where a split is shorter than one window."""
    for split, file in manifest.splits.items():
        if file.tokens >= settings.min_tokens:
            continue
        remedy = f"give {manifest.source} more text or shorten the context"
        if split == "validation" and manifest.role == "domain":
            remedy = f"give {manifest.source} more text or raise validation_fraction ({settings.validation_fraction:g})"
        raise TokenError(
            f"{file.documents:,} documents with {file.tokens:,} tokens are fewer than the window of "
            f"{settings.min_tokens:,} tokens",
            where=f"{manifest.source}, {split} split",
            remedy=remedy,
        )
