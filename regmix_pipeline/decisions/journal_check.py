"""Whether the journal is intact, and everything on record is what its lines say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from regmix_pipeline.decisions.find import decisions
from regmix_pipeline.decisions.links import Difference, Files, Link
from regmix_pipeline.decisions.verdicts import altered, verdicts_of
from regmix_pipeline.engine.journal import RECORD, VERDICT, Head
from regmix_pipeline.engine.ledger import head_in
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError
from regmix_pipeline.mixtures.adopted import adopted

JOURNAL = "journal"
HeadSource = Callable[[Path], list[tuple[Head, str]]]
"""Home -> heads of its journal that are kept elsewhere, such as in Dagster's event log, and where."""


def no_reported_heads(home: Path) -> list[tuple[Head, str]]:
    """Heads where none are kept elsewhere."""
    return []


def heads_of(workspace: Workspace, head_source: HeadSource = no_reported_heads) -> list[tuple[Head, str]]:
    """Every head of the journal that is kept somewhere, and where. From here on, what these knew of is not a leftover
    of a kill for this workspace.

    Raises:
        LookupError: ``head_source`` cannot be read.
    """
    found = [*_heads_here(workspace), *head_source(workspace.home)]
    known = max((head.count for head, _ in found), default=0)
    workspace.records.journal.known_elsewhere = lambda: known
    return found


def journal_link(workspace: Workspace, files: Files, heads: Collection[tuple[Head, str]]) -> Link:
    """The journal itself, the heads that others keep of it, and every record, verdict and request on its lines."""
    link = Link(JOURNAL, len(workspace.records.journal.lines), 1)
    link.differences += journal_differences(workspace, heads)
    link.differences += _kept_differ(workspace, files, link)
    link.differences += _current_differ(workspace, files)
    link.differences += _decisions_differ(workspace, files, link)
    return link


def journal_differences(workspace: Workspace, heads: Collection[tuple[Head, str]]) -> list[Difference]:
    """Where the journal's own chain is broken, or is not the one that heads kept elsewhere are of."""
    journal = workspace.records.journal
    if not journal.path.is_file() and any((workspace.records.folder / "history").glob("*/*/*.json")):
        return [Difference(JOURNAL, "gone", workspace.name_of(journal.path))]
    found = [Difference(JOURNAL, "altered", what) for what in journal.problems]
    lines, voided = journal.lines, journal.voided
    for head, where in heads:
        if head.count > len(lines):
            what = f"{where} knows of {head.count} lines, and there are {len(lines)}: lines were taken out"
            found.append(Difference(JOURNAL, "altered", what))
        elif head.count and lines[head.count - 1].digest != head.digest:
            what = f"{where} knows another line {head.count}: lines were taken out, added or changed"
            found.append(Difference(JOURNAL, "altered", what))
        for number, by in voided.items():
            if number <= head.count < by:
                what = f"line {number} stood when {where} was written, and its files were taken away since"
                found.append(Difference(JOURNAL, "gone", what))
    return list(dict.fromkeys(found))


def _heads_here(workspace: Workspace) -> Iterator[tuple[Head, str]]:
    kept = [(str(head_in(workspace.ledger)), "the ledger")]
    for record in decisions(workspace):
        kept.append((record.get("journal", ""), f"decision {record['decision']}"))
        kept += [(each.journal, f"verdict {each.verdict}") for each in verdicts_of(workspace, record["decision"])]
    for text, where in kept:
        try:
            yield Head.of(text), where
        except (ValueError, AttributeError):
            continue


def _kept_differ(workspace: Workspace, files: Files, link: Link) -> Iterator[Difference]:
    """Every record ever saved against its line, and every record's file against the lines."""
    records, voided = workspace.records, workspace.records.journal.voided
    known = set()
    for line in records.journal.lines:
        if line.what != RECORD or line.number in voided:
            continue
        path = records.kept(line.says)
        found = files.sum(workspace.name_of(path))
        place = f"{line.says.get('asset')}/{line.says.get('key')}"
        link.files += path not in known
        known.add(path)
        if found != line.says.get("digest"):
            files.wrong.add(workspace.name_of(path))
        if found is None and not records.journal.unfinished(line.number):
            yield Difference(place, "gone", f"the record of version {line.says.get('version')}, line {line.number}")
        elif found is not None and found != line.says.get("digest"):
            yield Difference(place, "altered", f"its record, line {line.number} of the journal, was edited")
    for path in sorted((records.folder / "history").glob("*/*/[!.]*.json")):
        if path not in known:
            place = f"{path.parent.parent.name}/{path.parent.name}"
            yield Difference(place, "altered", f"the journal has no line of the record {path.name}")


def _current_differ(workspace: Workspace, files: Files) -> Iterator[Difference]:
    """What is listed as current against the line that was noted last."""
    journal = workspace.records.journal
    last = {(line.says.get("asset"), line.says.get("key")): line for line in journal.lines if line.what == RECORD}
    for path in sorted((workspace.records.folder / "current").glob("*/[!.]*.json")):
        asset, key = path.parent.name, path.stem
        line = last.get((asset, key))
        if line is not None and line.number in journal.voided:
            expected = journal.last_record(asset, key)
        else:
            expected = line.says.get("digest") if line else None
        if files.sum(workspace.name_of(path)) != expected and not (line and journal.unfinished(line.number)):
            yield Difference(f"{asset}/{key}", "altered", "its current record is not the one that was saved last")


def _decisions_differ(workspace: Workspace, files: Files, link: Link) -> Iterator[Difference]:
    """The files of every decision ever taken, all verdicts, and the mixtures that somebody asked for."""
    taken = workspace.records.history("mixture_decision")
    # A decision whose file was damaged is taken again under its id, at another time: the latest record is of its file.
    for record in {record.version: record for record in taken}.values():
        yield from files.differ(record, record.version, link)
    spoken_of = {
        (line.says.get("verdict") or {}).get("decision")
        for line in workspace.records.journal.lines
        if line.what == VERDICT
    }
    for name in sorted({record.version for record in taken} | {name for name in spoken_of if name}):
        yield from (Difference(name, "altered", what) for what in altered(workspace, name))
    try:
        adopted(workspace)
    except (LedgerError, ValueError) as error:
        yield Difference("adopted.json", "altered", str(error).partition("\n")[0])
