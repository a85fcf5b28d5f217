"""Where a run's data lie: as a template says, or where the study itself read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regmix_pipeline.addresses import local_path
from regmix_pipeline.decisions.find import record_named
from regmix_pipeline.documents.catalogue import FILE_KINDS
from regmix_pipeline.engine.records import Record
from regmix_pipeline.engine.verified import rows_of
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.formats.data import FIELD, DataFile, DomainData, Need, check_template, reader_of
from regmix_pipeline.tokens.extents import ExtentTokens
from regmix_pipeline.tokens.manifest import Manifest, check_sizes, read_manifest
from regmix_pipeline.tokens.shards import shard_folder


@dataclass(frozen=True)
class Basis:
    """What mixtures are based on: a decision's versions, or today's.

    Attributes:
        domains: the domains that are weighed.
        versions: ``asset/key`` -> version.
        available: domain -> tokens available; None where nobody knows.
        inventory: record of the inventory; None for one that is gone.
        tokenizer: record of the tokenizer; None where the study has none.
        what: what it is the basis of, for messages.
    """

    domains: tuple[str, ...]
    versions: Mapping[str, str]
    available: Mapping[str, int | None]
    inventory: Record | None
    tokenizer: Record | None
    what: str

    @property
    def token_type(self) -> str:
        """Type of a token in files made with the study's tokenizer; "" where it has none."""
        if self.tokenizer is None:
            return ""
        return "uint16" if self.tokenizer.facts["vocabulary"] <= 2**16 else "uint32"


def basis_of(workspace: Workspace, record: Mapping[str, Any]) -> Basis:
    """What a decision is based on."""
    return Basis(
        tuple(domain for domain, weight in record["mixture"]["weights"].items() if weight > 0),
        record.get("versions", {}),
        {row["domain"]: row.get("available_tokens") for row in record["domains"]},
        record_named(workspace, dict(record), "domain_inventory"),
        record_named(workspace, dict(record), "tokenizer"),
        "the decision is",
    )


def basis_now(workspace: Workspace) -> Basis:
    """What the study's mixtures are based on today."""
    current = workspace.records.current
    inventory = {row["source"]: row for row in workspace.json("domain_inventory")["sources"]}
    versions = {
        f"{asset}/{domain}": record.version
        for asset in ("token_shards", "documents")
        for domain in workspace.domains
        if (record := current(asset, domain)) is not None
    }
    return Basis(
        tuple(workspace.domains),
        versions,
        {domain: inventory[domain].get("available_tokens") for domain in workspace.domains},
        current("domain_inventory"),
        current("tokenizer"),
        "the mixtures are",
    )


def data_of(workspace: Workspace, basis: Basis, need: Need, template: str | None) -> dict[str, DomainData]:
    """Domain -> its data, for every domain of the basis.

    Args:
        workspace: the study on disk.
        basis: what the mixtures are based on.
        need: what the format reads.
        template: address of a domain's data, with ``{domain}`` where its name goes.

    Raises:
        StudyError: the template names no domain.
        LedgerError: the format cannot read what the study has, and no template says where else to look.
    """
    counted = _inventory(workspace, basis)
    if template is not None:
        check_template(template)
        return {domain: _in_template(workspace, basis, domain, template, counted) for domain in basis.domains}
    if need == "template":
        raise LedgerError(
            "this format cannot read the study's own token shards or text",
            where="--data",
            remedy=f"say where the run's data are, for instance --data '/data/{FIELD}'",
        )
    own = {"token files": _shard, "text": _source}.get(need, _named)
    return {domain: own(workspace, basis, domain, counted) for domain in basis.domains}


def _inventory(workspace: Workspace, basis: Basis) -> dict[str, dict[str, Any]]:
    """Domain -> its row of the inventory; empty for an inventory that is gone."""
    if basis.inventory is None:
        return {}
    rows = rows_of(basis.inventory, workspace.home, "domain_inventory").to_pylist()
    return {row["source"]: {"documents": row["train_documents"], "tokens": row["train_tokens"]} for row in rows}


def _mean_tokens(counted: Mapping[str, Mapping[str, Any]], domain: str) -> float | None:
    row = counted.get(domain)
    return row["tokens"] / row["documents"] if row and row["tokens"] and row["documents"] else None


def _in_template(
    workspace: Workspace,
    basis: Basis,
    domain: str,
    template: str,
    counted: Mapping[str, Mapping[str, Any]],
) -> DomainData:
    address = template.replace(FIELD, domain)
    source = workspace.study.sources.get(domain)
    return DomainData(
        (DataFile(address),),
        basis.available.get(domain),
        tokens_per_document=_mean_tokens(counted, domain),
        text_field=source[1].text_field if source and source[1].tokens is None else "text",
        reader=reader_of(address),
        remedy=f"state its tokens as domains.{domain}.available_tokens and decide again, if the large run has more",
    )


def _named(workspace: Workspace, basis: Basis, domain: str, counted: Mapping[str, Mapping[str, Any]]) -> DomainData:
    available = basis.available.get(domain)
    return DomainData((DataFile(domain),), available, tokens_per_document=_mean_tokens(counted, domain))


def _shard(workspace: Workspace, basis: Basis, domain: str, counted: Mapping[str, Mapping[str, Any]]) -> DomainData:
    version = basis.versions.get(f"token_shards/{domain}")
    folder = shard_folder(workspace.path("shards"), domain, version) if version else None
    if folder is None or not folder.is_dir():
        raise LedgerError(
            f"the token shard {version or 'of this domain'} that {basis.what} based on is not here",
            where=f"domains.{domain}",
            remedy=f"say where the run's token files are, for instance --data 's3://bucket/{FIELD}/*.npy'",
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
        remedy=f"give the run's own token files with --data '.../{FIELD}/*.npy'",
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
            remedy=f"say where the run's token files are, for instance --data 's3://bucket/{FIELD}/*.npy'",
        )
    return DomainData(
        tuple(DataFile(str(file.path), file.tokens) for file in files),
        sum(file.tokens for file in files),
        tokens_per_document=train.tokens / train.documents,
        dtype=manifest.dtype,
        note="the study kept its validation documents out of training; a loader of these files reads all",
        remedy=f"give the run's own token files with --data '.../{FIELD}/*.npy'",
    )


def _source(workspace: Workspace, basis: Basis, domain: str, counted: Mapping[str, Mapping[str, Any]]) -> DomainData:
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
    if now is None or now.version != basis.versions.get(f"documents/{domain}"):
        raise LedgerError(
            f"the documents at the study's address are no longer those that {basis.what} based on",
            where=f"domains.{domain}",
            remedy=f"run the study again, or {remedy}",
        )
    address = source.address if source.remote else local_path(source.address, workspace.base)
    limited = source.max_documents is not None or source.max_bytes is not None
    return DomainData(
        (DataFile(address),),
        basis.available.get(domain),
        tokens_per_document=_mean_tokens(counted, domain),
        text_field=source.text_field,
        reader=FILE_KINDS[source.kind].builder,
        note=f"the study read {source.label()}; a loader reads all" if limited else "",
        remedy=f"add text, or state its tokens as domains.{domain}.available_tokens, and decide again",
    )
