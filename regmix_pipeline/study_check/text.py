"""What a study's text is, looked at without tokenising it: how much there is, and whether its documents can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regmix_pipeline.documents.corpora import corpus_path
from regmix_pipeline.documents.observe import version_by_listing
from regmix_pipeline.documents.readers import reader_of
from regmix_pipeline.documents.resolve import SourceFiles, resolve
from regmix_pipeline.documents.token_files import stored_tokens
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.planning import stated
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.tokens.split import split_of, text_digest
from regmix_pipeline.tokens.stage import shard_settings

if TYPE_CHECKING:
    from regmix_pipeline.study.settings.tokens import ShardSettings

PACKED = 4.0
"""Most times that compressed text may be larger than its usual ratio makes it."""
SMALL = 32.0
"""Windows that a domain's validation split should hold by estimate; one of fewer is read and counted."""
LARGEST_COUNT = 64_000_000
"""Bytes of text beyond which a source is not read to count it."""


@dataclass(frozen=True)
class TextHere:
    """A source's text.

    Attributes:
        tokens: for training (of a target: all), as counted in its shard, else estimated from bytes.
        most: more than that it cannot be, whatever the tokenizer: a token represents one byte at least.
        counted: whether both are counted.
    """

    tokens: float
    most: float
    counted: bool


def texts_of(workspace: Workspace, *, elsewhere: bool = False) -> tuple[dict[str, TextHere] | None, list[str]]:
    """Source -> its text, of the sources whose size shows here; and what the user should know of them.

    Args:
        workspace: the study on disk.
        elsewhere: text may be on another machine: where no source is here, None.

    Raises:
        DocumentError: no file matches an address, or a first document cannot be read.
        TokenError: a split of a small source cannot hold a window.
    """
    found: dict[str, TextHere] = {}
    lines: list[str] = []
    absent: DocumentError | None = None
    here = 0
    for name, (role, source) in workspace.study.sources.items():
        if source.corpus is not None and not corpus_path(source.corpus, workspace.data).is_file():
            continue  # `regmix run` fetches it
        try:
            files = resolve(source, workspace.base, workspace.data)
        except DocumentError as error:
            place = f"{role}s.{name}.source"
            absent = absent or DocumentError(error.problem, where=f"{place}: {error.where}", remedy=error.remedy)
            continue
        here += 1
        counted = _counted(workspace, name, source)
        if counted is not None:
            found[name] = counted
            continue
        if source.tokens is not None:
            found[name] = _stored(role, source, workspace.base, shard_settings(workspace))
            continue
        _check_first(name, role, source, files)
        if files.local:
            # Items of a task need not fill a window.
            least = {"min_tokens": 1} if source.is_task else {}
            asked = shard_settings(workspace).model_copy(update=least)
            found[name], said = _estimated(name, role, source, files, asked)
            lines += said
    if absent is not None:
        if here or not elsewhere:
            raise absent
        return None, lines
    return found, lines


def _counted(workspace: Workspace, name: str, source: Source) -> TextHere | None:
    """By the shard on record, where it is of the documents as they are."""
    documents, shard = workspace.records.current("documents", name), workspace.records.current("token_shards", name)
    if documents is None or shard is None or shard.inputs.get(f"documents/{name}") != documents.version:
        return None
    if version_by_listing(source, workspace.base, workspace.data) != documents.version:
        return None
    splits = shard.facts["splits"]
    tokens = float(splits.get("train", splits.get("validation", 0)))
    return TextHere(tokens, tokens, counted=True)


def _stored(role: str, source: Source, base: Path, settings: ShardSettings) -> TextHere:
    """By the sizes of files of tokens."""
    tokens = stored_tokens(source, base) * (1 - settings.validation_fraction if role == "domain" else 1.0)
    return TextHere(tokens, tokens, counted=False)


def _check_first(name: str, role: str, source: Source, files: SourceFiles) -> None:
    """Read the first document that has text."""
    first = source.model_copy(update={"max_bytes": 1})
    if next(reader_of(files, first).run(), None) is None:
        raise DocumentError(
            f"{role} {name} has no documents with text",
            where=source.label(),
            remedy="give it documents, or leave it out of the study",
        )


def _estimated(
    name: str, role: str, source: Source, files: SourceFiles, settings: ShardSettings
) -> tuple[TextHere, list[str]]:
    """By the files' sizes; a small source is read, and what its splits hold is counted in bytes."""
    size = most = 0.0
    for path in files.paths:
        ratio = stated.COMPRESSION.get(Path(path).suffix.lower(), 1.0)
        stored = float(files.fs.size(path) or 0)
        size += stored * ratio
        most += stored * (ratio if ratio == 1.0 else PACKED * ratio)
    if source.max_bytes is not None:
        # Each document ends with a token more.
        size, most = min(size, source.max_bytes), min(most, 2.0 * source.max_bytes)
    fraction = settings.validation_fraction if role == "domain" else 1.0
    enough = SMALL * settings.min_tokens * stated.BYTES_PER_TOKEN / fraction
    if source.max_documents is None and (size > enough or size > LARGEST_COUNT):
        share = 1 - fraction if role == "domain" else 1.0
        return TextHere(share * size / stated.BYTES_PER_TOKEN, share * most, counted=False), []
    return _read_through(name, role, source, files, settings)


def _read_through(
    name: str, role: str, source: Source, files: SourceFiles, settings: ShardSettings
) -> tuple[TextHere, list[str]]:
    """Count the bytes of each split, up to `LARGEST_COUNT` of them, duplicates left out."""
    sizes = {"train": 0, "validation": 0} if role == "domain" else {"validation": 0}
    documents = dict.fromkeys(sizes, 0)
    seen: set[bytes] = set()
    for document in reader_of(files, source).run():
        digest = text_digest(document.text)
        if digest in seen:
            continue
        seen.add(digest)
        split = split_of(digest, settings.seed, settings.validation_fraction) if role == "domain" else "validation"
        sizes[split] += len(document.text.encode())
        documents[split] += 1
        if sum(sizes.values()) > LARGEST_COUNT:
            break
    lines = []
    for split, size in sizes.items():
        estimate = size / stated.BYTES_PER_TOKEN + documents[split]
        if size + documents[split] < settings.min_tokens:
            raise _too_small(name, role, split, documents[split], size, settings)
        if estimate < 1.5 * settings.min_tokens:
            lines.append(
                f"{name}: its {split} split holds an estimated {estimate:,.0f} tokens in {documents[split]:,} "
                f"documents, and a window needs {settings.min_tokens:,}: it may turn out too small"
            )
    kept = "train" if role == "domain" else "validation"
    tokens = sizes[kept] / stated.BYTES_PER_TOKEN + documents[kept]
    return TextHere(tokens, float(sizes[kept] + documents[kept]), counted=False), lines


def _too_small(name: str, role: str, split: str, documents: int, size: int, settings: ShardSettings) -> TokenError:
    remedy = f"give {name} more text or shorten the context"
    if role == "domain" and split == "validation":
        remedy = f"give {name} more text or raise shards.validation_fraction ({settings.validation_fraction:g})"
    return TokenError(
        f"{documents:,} documents with {size:,} bytes hold fewer tokens than the window of {settings.min_tokens:,}",
        where=f"{name}, {split} split",
        remedy=remedy,
    )
