"""Documents to token shards: exact duplicates dropped, split by hash of the text, complete or absent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.engine.leftovers import sweep
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import fingerprint, folder_written_atomically, sha256_of, write_json
from regmix_pipeline.progress import Say, clock, to_stderr
from regmix_pipeline.study.settings.documents import Source, check_name
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.in_place import found_again, written_in_place
from regmix_pipeline.tokens.manifest import (
    MANIFEST,
    Manifest,
    Role,
    SplitFile,
    check_sizes,
    read_manifest,
    verify_shard,
)
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
    """Tokenize a source into ``folder/name/version``; a shard that exists already is returned as it is.

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
        say: called with what was made.

    Raises:
        DocumentError: no documents, damaged documents, or documents that changed since they were observed.
        TokenError: a split has fewer tokens than ``settings.min_tokens``. Nothing is left behind in either case.
    """
    check_name(name)
    version = documents_version or observe(source, base, data_folder, say).version
    shard = shard_folder(folder, name, expected_shard_version(version, tokenizer, settings, role))
    if source.tokens is not None and found_again(shard, source, base):
        say(f"  {name}: its files of tokens, as they were, are read where they lie now")
    there = existing_shard(name, shard, settings, say)
    if there is not None:
        return there

    def fill(temporary: Path) -> Manifest:
        return _tokenized(name, source, base, data_folder, tokenizer, temporary, settings, role)

    return written_shard(shard, fill, source, base, data_folder, settings, version, say)


def existing_shard(name: str, shard: Path, settings: ShardSettings, say: Say = to_stderr) -> Manifest | None:
    """The manifest of a shard that exists and is complete; one that is damaged is removed.

    Raises:
        TokenError: as `make_shard`.
    """
    if not (shard / MANIFEST).exists():
        return None
    manifest = read_manifest(shard)
    if _is_intact(shard, manifest):
        _check_enough(manifest, settings)
        return manifest
    say(f"  {name}: a file of the shard is missing or cut short, so it is made again")
    shutil.rmtree(shard)
    return None


def written_shard(
    shard: Path,
    fill: Callable[[Path], Manifest],
    source: Source,
    base: Path,
    data_folder: Path,
    settings: ShardSettings,
    documents_version: str,
    say: Say = to_stderr,
) -> Manifest:
    """Write a shard, completely or not at all: its files by ``fill``, then the manifest.

    Args:
        shard: the shard's folder.
        fill: writes the files into a folder, returns the manifest.
        documents_version: what the documents must still be when the files are written.

    Raises:
        DocumentError, TokenError: as `make_shard`.
    """
    started = time.monotonic()
    sweep(shard.parent)
    try:
        with folder_written_atomically(shard) as temporary:
            made = fill(temporary)
            manifest = made.model_copy(update={"version": shard.name, "documents_version": documents_version})
            _check_enough(manifest, settings)
            if observe(source, base, data_folder, say).version != documents_version:
                raise DocumentError(
                    "the documents have changed since they were observed",
                    where=f"{manifest.source} ({source.label()})",
                    remedy="run again once nothing writes to them any more",
                )
            write_json(temporary / MANIFEST, manifest.as_json())
    finally:
        if shard.parent.is_dir() and not any(shard.parent.iterdir()):
            shard.parent.rmdir()
    done = "read in place" if source.tokens is not None else "tokenized"
    say(
        f"  {done} {manifest.source:<24} {manifest.totals('tokens') / 1e6:6.2f} M tokens in "
        f"{manifest.totals('documents'):,} documents, {manifest.duplicates:,} duplicates dropped · "
        f"{clock(time.monotonic() - started)}"
    )
    return manifest


def _is_intact(shard: Path, manifest: Manifest) -> bool:
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
) -> Manifest:
    """Run reader, removal of duplicates and tokenizer into ``folder``; return the manifest but for the versions."""
    if source.tokens is not None:
        seen = observe(source, base, data_folder).files
        sums = {file.path: file.checksum.removeprefix("sha256:") for file in seen}
        read = written_in_place(source, base, tokenizer, folder, SPLITS[role], settings, sums)
        made = manifest_of(name, source, role, tokenizer, read.splits, read.duplicates, read.without_text)
        return made.model_copy(update={"dtype": read.dtype})
    from regmix_pipeline.tokens.steps import DropDuplicates, SplitTokenizer
    from regmix_pipeline.tokens.task_items import ItemsWriter

    # Steps are chained here and not by an executor: its logging folder would skip a shard whose inputs have changed.
    read, drop = reader(source, base, data_folder), DropDuplicates()
    write = SplitTokenizer(folder, tokenizer, SPLITS[role], settings.seed, settings.validation_fraction)
    items = ItemsWriter(tokenizer) if source.is_task else None
    write.run(drop.run(read.run()) if items is None else items.noting(drop.run(read.run())))
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
    made = manifest_of(name, source, role, tokenizer, splits, drop.duplicates, read.without_text)
    return made if items is None else made.model_copy(update={"items": items.write(folder)})


def manifest_of(
    name: str,
    source: Source,
    role: Role,
    tokenizer: TokenizerFile,
    splits: Mapping[str, SplitFile],
    duplicates: int,
    without_text: int,
) -> Manifest:
    """The manifest but for the versions. Raises DocumentError where there is no document with text."""
    if not any(split.documents for split in splits.values()):
        raise DocumentError(
            f"{role} {name} has no documents with text" + (f" ({without_text:,} are empty)" if without_text else ""),
            where=source.label(),
            remedy="give it documents, or leave it out of the study",
        )
    return Manifest(
        source=name,
        version="",
        tokenizer=tokenizer.version,
        vocabulary=tokenizer.vocab_size,
        dtype=tokenizer.dtype,  # pyright: ignore[reportArgumentType]
        splits=dict(splits),
        duplicates=duplicates,
        documents_version="",
        role=role,
        without_text=without_text,
        eos_id=tokenizer.eos_id,
    )


def _check_enough(manifest: Manifest, settings: ShardSettings) -> None:
    """Raise TokenError where a split is shorter than one window, or a task has a single item."""
    if manifest.items is not None:
        if manifest.items.items < 2:
            raise TokenError(
                "a task of one item has no standard error", where=manifest.source, remedy="give it two items or more"
            )
        return
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
