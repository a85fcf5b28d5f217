"""Where the large run's data lie: as a template says, or where the study itself read them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regmix_pipeline.decisions.find import record_named
from regmix_pipeline.documents.catalogue import FILE_KINDS
from regmix_pipeline.engine.verified import rows_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.tokens.extents import ExtentTokens
from regmix_pipeline.tokens.manifest import Manifest, check_sizes, read_manifest
from regmix_pipeline.tokens.shards import shard_folder

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
    """What the large run can draw on for one domain.

    Attributes:
        files: its files as the trainer is given them, or one address for all of them.
        available: tokens in them; None where nobody knows.
        counted: the files found behind one address, with the tokens in each.
        tokens_per_document: mean over the training split of the study's own text; None where the study has none.
        dtype: type of a token in a headless token file; "" for anything else.
        text_field: field that holds a document's text; "" for anything but documents.
        reader: loader of `datasets` for these files, json or parquet; "" where nobody knows.
        note: what a reader of the export has to know of these data.
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


def data_of(workspace: Workspace, record: Mapping[str, Any], need: Need, template: str | None) -> dict[str, DomainData]:
    """Domain -> its data, for every domain that the decision weighs.

    Args:
        workspace: the study on disk.
        record: the decision.
        need: what the format reads.
        template: address of a domain's data, with ``{domain}`` where its name goes.

    Raises:
        StudyError: the template names no domain.
        LedgerError: the format cannot read what the study has, and no template says where else to look.
    """
    domains = [domain for domain, weight in record["mixture"]["weights"].items() if weight > 0]
    counted = _inventory(workspace, record)
    if template is not None:
        check_template(template)
        return {domain: _in_template(workspace, record, domain, template, counted) for domain in domains}
    if need == "template":
        raise LedgerError(
            "this format cannot read the study's own token shards or text",
            where="--data",
            remedy=f"say where the large run's data are, for instance --data '/data/{FIELD}'",
        )
    own = {"token files": _shard, "text": _source}.get(need, _named)
    return {domain: own(workspace, record, domain, counted) for domain in domains}


def check_template(template: str) -> None:
    """Raise StudyError unless a template has ``{domain}`` in it, and no other field."""
    fields = re.findall(r"\{\w*\}", template)
    if set(fields) != {FIELD}:
        raise StudyError(
            f"{template!r} has {', '.join(fields) or 'no field'} where {FIELD} is wanted",
            where="--data",
            remedy=f"put {FIELD} where a domain's name goes, for instance 's3://bucket/{FIELD}'",
        )


def _inventory(workspace: Workspace, record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Domain -> its row of the inventory that the decision is based on; empty for an inventory that is gone."""
    counted = record_named(workspace, dict(record), "domain_inventory")
    if counted is None:
        return {}
    rows = rows_of(counted, workspace.home, "domain_inventory").to_pylist()
    return {row["source"]: {"documents": row["train_documents"], "tokens": row["train_tokens"]} for row in rows}


def _mean_tokens(counted: Mapping[str, Mapping[str, Any]], domain: str) -> float | None:
    row = counted.get(domain)
    return row["tokens"] / row["documents"] if row and row["tokens"] and row["documents"] else None


def _available(record: Mapping[str, Any], domain: str) -> int | None:
    return next((row.get("available_tokens") for row in record["domains"] if row["domain"] == domain), None)


def _in_template(
    workspace: Workspace,
    record: Mapping[str, Any],
    domain: str,
    template: str,
    counted: Mapping[str, Mapping[str, Any]],
) -> DomainData:
    address = template.replace(FIELD, domain)
    source = workspace.study.sources.get(domain)
    return DomainData(
        (DataFile(address),),
        _available(record, domain),
        tokens_per_document=_mean_tokens(counted, domain),
        text_field=source[1].text_field if source and source[1].tokens is None else "text",
        reader=_reader_of(address),
        remedy=f"state its tokens as domains.{domain}.available_tokens and decide again, if the large run has more",
    )


def _reader_of(address: str) -> str:
    found = next((kind.builder for kind in FILE_KINDS.values() if any(end in address for end in kind.endings)), "")
    return found or ("json" if re.search(r"\.json(\.|$)", address) else "")


def _named(
    workspace: Workspace, record: Mapping[str, Any], domain: str, counted: Mapping[str, Mapping[str, Any]]
) -> DomainData:
    available = _available(record, domain)
    return DomainData((DataFile(domain),), available, tokens_per_document=_mean_tokens(counted, domain))


def _shard(
    workspace: Workspace, record: Mapping[str, Any], domain: str, counted: Mapping[str, Mapping[str, Any]]
) -> DomainData:
    version = record.get("versions", {}).get(f"token_shards/{domain}")
    folder = shard_folder(workspace.path("shards"), domain, version) if version else None
    if folder is None or not folder.is_dir():
        raise LedgerError(
            f"the token shard {version or 'of this domain'} that the decision is based on is not here",
            where=f"domains.{domain}",
            remedy=f"say where the large run's token files are, for instance --data 's3://bucket/{FIELD}/*.npy'",
        )
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    train = manifest.splits["train"]
    if train.in_place:
        return _in_place(folder / train.file, manifest, domain)
    return DomainData(
        (DataFile(str(folder / train.file), train.tokens),),
        train.tokens,
        tokens_per_document=train.tokens / train.documents,
        dtype=manifest.dtype,
        remedy=f"give the large run's own token files with --data '.../{FIELD}/*.npy'",
    )


def _in_place(extents: Path, manifest: Manifest, domain: str) -> DomainData:
    """The files that a shard reads where they lie. They hold the validation documents as well.

    Raises:
        LedgerError: they have headers, which a trainer of headless files would take for tokens.
    """
    train = manifest.splits["train"]
    files = ExtentTokens(extents).files
    if any(file.offset for file in files):
        raise LedgerError(
            f"{files[0].path} has a header, and this format reads headless token files",
            where=f"domains.{domain}",
            remedy=f"say where the large run's token files are, for instance --data 's3://bucket/{FIELD}/*.npy'",
        )
    return DomainData(
        tuple(DataFile(str(file.path), file.tokens) for file in files),
        sum(file.tokens for file in files),
        tokens_per_document=train.tokens / train.documents,
        dtype=manifest.dtype,
        note="the study kept its validation documents out of training; a loader of these files reads all",
        remedy=f"give the large run's own token files with --data '.../{FIELD}/*.npy'",
    )


def _source(
    workspace: Workspace, record: Mapping[str, Any], domain: str, counted: Mapping[str, Mapping[str, Any]]
) -> DomainData:
    given = workspace.study.domains.get(domain)
    source = given.source if given else None
    remedy = f"say where its text is, for instance --data '/data/{FIELD}/*.jsonl.gz'"
    if source is None or source.kind in ("corpus", "tokens"):
        what = "has no source in the study, where a loader would find text"
        if source is not None:
            held = {"corpus": "comes from a built-in corpus", "tokens": "is tokenised already"}[source.kind]
            what = f"{held}, which no loader of text finds by address"
        raise LedgerError(f"{domain} {what}", where="--data", remedy=remedy)
    now = workspace.records.current("documents", domain)
    if now is None or now.version != record.get("versions", {}).get(f"documents/{domain}"):
        raise LedgerError(
            "the documents at the study's address are no longer those that the decision is based on",
            where=f"domains.{domain}",
            remedy=f"decide again, or {remedy}",
        )
    remote = "://" in source.address or "::" in source.address
    address = source.address if remote else os.path.abspath(workspace.base / source.address)
    limited = source.max_documents is not None or source.max_bytes is not None
    return DomainData(
        (DataFile(address),),
        _available(record, domain),
        tokens_per_document=_mean_tokens(counted, domain),
        text_field=source.text_field,
        reader=FILE_KINDS[source.kind].builder,
        note=f"the study read {source.label()}; a loader reads all" if limited else "",
        remedy=f"add text, or state its tokens as domains.{domain}.available_tokens, and decide again",
    )
