"""A manifest: the digest of everything that a decision is based on, to be kept where the home's writers cannot
write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regmix_pipeline.decisions.find import Decision, decisions, record_behind
from regmix_pipeline.decisions.links import Difference, Files, Link
from regmix_pipeline.decisions.signatures import SIGNATURE, checked, signed
from regmix_pipeline.decisions.verdicts import file_of, verdicts_of
from regmix_pipeline.engine.journal import Head
from regmix_pipeline.engine.records import Record, now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.files import json_text, read_json, write_together

FORMAT = 1
MANIFEST = "manifest"


def manifest_of(workspace: Workspace, decision: Decision) -> dict[str, Any]:
    """The manifest of a decision as its records have it, JSON-able.

    Returns:
        ``decision`` and ``seal``; ``journal``, its head; ``records``, ``asset/key`` -> digest; ``files``, name relative
        to the home -> SHA-256; ``verdicts``, number -> SHA-256 of its file.
    """
    files = Files(workspace, contents=False)
    records = dict(_records(workspace, decision))
    said = [verdict.number for verdict in verdicts_of(workspace, decision["decision"])]
    return {
        "format": FORMAT,
        "decision": decision["decision"],
        "seal": decision["seal"],
        "made_at": now(),
        "journal": str(workspace.records.journal.head),
        "records": {place: record.digest for place, record in records.items()},
        "files": {name: total for record in records.values() for name, total in sorted(record.sums.items())},
        "verdicts": {
            str(each): files.sum(workspace.name_of(file_of(workspace, decision["decision"], each))) for each in said
        },
    }


def write_manifest(workspace: Workspace, decision: Decision, path: Path, key: Path | None = None) -> list[Path]:
    """Write a decision's manifest, and beside it its signature where there is a key; returns the files.

    Raises:
        LedgerError: it cannot be written or signed.
    """
    content = {path: json_text(manifest_of(workspace, decision)).encode()}
    if key is not None:
        content[path.with_name(path.name + SIGNATURE)] = signed(content[path], key).encode()
    try:
        write_together(content)
    except OSError as error:
        raise LedgerError(f"cannot be written: {error.strerror}", where=str(path), remedy="name another file") from None
    return list(content)


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's content.

    Raises:
        LedgerError: there is none, or it is not one of ours.
    """
    try:
        found = read_json(path)
        if found["format"] != FORMAT or not all(isinstance(found[name], dict) for name in ("records", "files")):
            raise ValueError(f"it is of format {found['format']}")
        Head.of(found["journal"])
    except FileNotFoundError:
        raise LedgerError("there is no such manifest", where=str(path), remedy="regmix audit --manifest FILE") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"is not a manifest: {error}", where=str(path), remedy="name a file that regmix audit --manifest wrote"
        ) from None
    return found


def manifest_link(workspace: Workspace, path: Path, *, contents: bool = True, signers: Path | None = None) -> Link:
    """A home against a manifest that was kept elsewhere, and the manifest's own signature.

    Raises:
        LedgerError: there is no manifest, or its signature cannot be checked.
    """
    manifest = read_manifest(path)
    link = Link(MANIFEST, len(manifest["records"]), made=(manifest.get("made_at", ""),) * 2)
    link.differences += _signature_differs(path, signers, link)
    link.differences += _journal_differs(workspace, Head.of(manifest["journal"]))
    name = manifest["decision"]
    decision = next((each for each in decisions(workspace) if each["decision"] == name), None)
    if decision is None:
        link.differences.append(Difference(name, "gone", "the decision that the manifest is of"))
        return link
    if decision.get("seal") != manifest["seal"]:
        link.differences.append(Difference(name, "altered", "its seal is not that of the manifest"))
    link.differences += _records_differ(workspace, manifest, link)
    link.differences += _files_differ(workspace, manifest, link, contents=contents)
    return link


def _signature_differs(path: Path, signers: Path | None, link: Link) -> Iterator[Difference]:
    signature = path.with_name(path.name + SIGNATURE)
    if signers is None:
        return
    if not signature.is_file():
        yield Difference(MANIFEST, "gone", f"its signature {signature}")
        return
    found = checked(path.read_bytes(), signature, signers)
    if found.problem:
        yield Difference(MANIFEST, "altered", found.problem)


def _journal_differs(workspace: Workspace, head: Head) -> Iterator[Difference]:
    lines = workspace.records.journal.lines
    if head.count > len(lines):
        what = f"the manifest knows of {head.count} lines, and there are {len(lines)}: lines were taken out"
        yield Difference("journal", "altered", what)
    elif head.count and lines[head.count - 1].digest != head.digest:
        yield Difference("journal", "altered", f"the manifest knows another line {head.count}")


def _records_differ(workspace: Workspace, manifest: dict[str, Any], link: Link) -> Iterator[Difference]:
    kept: dict[str, set[str]] = {}
    for place, digest in manifest["records"].items():
        asset, key = place.split("@")[0].split("/", 1)
        if f"{asset}/{key}" not in kept:
            kept[f"{asset}/{key}"] = {record.digest for record in workspace.records.history(asset, key)}
        link.files += 1
        if digest not in kept[f"{asset}/{key}"]:
            yield Difference(place, "gone", "the record that the manifest knows")


def _files_differ(
    workspace: Workspace, manifest: dict[str, Any], link: Link, *, contents: bool
) -> Iterator[Difference]:
    files = Files(workspace, contents=contents)
    whole = Record("manifest", "all", "", "", {}, {}, {}, (), "", 0.0, "", manifest["files"])
    yield from files.differ(whole, MANIFEST, link)
    for number, total in manifest.get("verdicts", {}).items():
        path = workspace.name_of(file_of(workspace, manifest["decision"], int(number)))
        if files.sum(path) != total:
            yield Difference(MANIFEST, "altered", f"{path} is not the verdict that the manifest knows")


def _records(workspace: Workspace, decision: Decision) -> Iterator[tuple[str, Record]]:
    """``asset/key`` -> record, of all that a decision is based on, of itself, and of its confirmations."""
    for place, version in decision["versions"].items():
        asset, key = place.split("@")[0].split("/", 1)
        record = record_behind(workspace, decision, asset, key, version)
        if record is not None:
            yield place, record
    name = decision["decision"]
    for record in workspace.records.of_version("mixture_decision", "all", name)[-1:]:
        yield "mixture_decision/all", record
    for record in workspace.records.history("confirmation"):
        if name in record.inputs.values():
            yield f"confirmation/all@{record.version}", record
