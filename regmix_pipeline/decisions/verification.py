"""Whether the chain from a decision to its documents still is what it was: every hash taken again.

Altered means that something on disk says another thing than when the decision was taken. Gone means that it cannot be
looked at any more. That a source of documents holds other text today is neither: the world moves on, and is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from regmix_pipeline.decisions.find import Decision, record_behind, record_on_disk
from regmix_pipeline.decisions.journal_check import HeadSource, heads_of, journal_link, no_reported_heads
from regmix_pipeline.decisions.ledger_check import ledger_link
from regmix_pipeline.decisions.links import Difference, Files, Kind, Link
from regmix_pipeline.decisions.record import decision_id, sealed
from regmix_pipeline.decisions.verdicts import altered
from regmix_pipeline.documents.observe import observe
from regmix_pipeline.engine.journal import RECORD
from regmix_pipeline.engine.ledger import ledger_is_current
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe, Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import read_json
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.tokens.manifest import check_tokens_in_place, read_manifest
from regmix_pipeline.tokens.shards import shard_folder

__all__ = ["Difference", "Kind", "Link", "decision_differences", "verified"]

AFTERWARDS = ("confirmation", "mixture_report", "strategy_comparison")
"""Assets that are made from a decision."""


def verified(
    workspace: Workspace,
    decision: Decision,
    *,
    contents: bool = True,
    with_ledger: bool | None = None,
    head_source: HeadSource = no_reported_heads,
) -> list[Link]:
    """The chain behind a decision, from the decision back to the documents, then the journal and the ledger.

    Args:
        workspace: the study on disk.
        decision: its record.
        with_ledger: whether the ledger is compared with the files; default: if it was built from the records as they
            are. Files are the truth: a ledger that is behind says nothing.
        contents: take the checksums of tokens, model weights and source documents too; without, of the rest alone.
        head_source: heads of the journal that are kept outside the home's own files.

    Raises:
        LookupError: ``head_source`` cannot be read.
    """
    if with_ledger is None:
        with_ledger = ledger_is_current(workspace.records, workspace.ledger)
    heads, files = heads_of(workspace, head_source), Files(workspace, contents=contents)
    saved = {line.says.get("digest", "") for line in workspace.records.journal.lines if line.what == RECORD}
    first = [*_links_afterwards(workspace, decision, files), _decision_link(workspace, decision, files)]
    by_asset: dict[str, Link] = {}
    lost = set()
    for place, version in decision["versions"].items():
        asset, key = place.split("@")[0].split("/", 1)
        link = by_asset.setdefault(asset, Link(asset))
        link.things += 1
        record = record_behind(workspace, decision, asset, key, version)
        if record is None:
            link.differences.append(Difference(place, "gone", f"no record of version {version}"))
            lost.add(asset)
            continue
        link.made = (min(filter(None, [link.made[0], record.made_at])), max(link.made[1], record.made_at))
        link.differences += _record_differs(record, place, decision, saved)
        link.differences += files.differ(record, place, link)
        link.differences += _content_differs(workspace, record, place, link, contents=contents)
    order = _upstream_order(workspace, decision)
    behind = sorted(by_asset.values(), key=lambda link: order.index(link.asset))
    last = [journal_link(workspace, files, heads)]
    damaged = [Difference(each.where, "gone", f"{each.problem}; {each.remedy}") for each in workspace.records.damaged()]
    if damaged:
        last.append(Link("records", len(damaged), differences=damaged))
    if with_ledger:
        last.append(ledger_link(workspace, files.wrong, lost))
    return [*first, *behind, *last]


def _upstream_order(workspace: Workspace, decision: Decision) -> list[str]:
    from regmix_pipeline.stages import STAGES

    names = [stage.name for stage in reversed(STAGES)]
    return names + sorted({place.split("/")[0] for place in decision["versions"]} - set(names))


def _links_afterwards(workspace: Workspace, decision: Decision, files: Files) -> Iterator[Link]:
    """What was made from the decision, such as what larger models said of it, against the checksums on record."""
    for asset in AFTERWARDS:
        own = [each for each in workspace.records.history(asset) if decision["decision"] in each.inputs.values()]
        if own:
            link = Link(asset, len(own), made=(own[0].made_at, own[-1].made_at))
            for record in own:
                link.differences += files.differ(record, f"{asset}/{record.version}", link)
            yield link


def _decision_link(workspace: Workspace, decision: Decision, files: Files) -> Link:
    """The record against its own id, seal and checksums, and its verdicts."""
    name = decision["decision"]
    link = Link("mixture_decision", 1, made=(decision["decided_at"], decision["decided_at"]))
    link.differences += decision_differences(workspace, decision)
    link.unsummed += "seal" not in decision
    for record in workspace.records.of_version("mixture_decision", UNPARTITIONED, name)[-1:]:
        link.differences += files.differ(record, name, link)
        if dict(record.inputs) != decision["versions"]:
            link.differences.append(Difference(name, "altered", "its record names other versions than it does"))
    return link


def decision_differences(workspace: Workspace, decision: Decision) -> list[Difference]:
    """What is wrong with a decision's own record, wherever it was found, and with its verdicts; see `verified`."""
    name, found = decision["decision"], []
    path = workspace.path("decisions", name, "decision.json")
    if not path.is_file():
        found.append(Difference(name, "gone", "its file; shown as the ledger has it"))
    elif record_on_disk(workspace, name) != decision:
        found.append(Difference(name, "altered", "its file holds another text; shown as the ledger has it"))
    if "seal" in decision:
        if sealed(decision)["seal"] != decision["seal"]:
            found.append(Difference(name, "altered", "the record does not match its seal"))
        if decision_id(decision) != name:
            found.append(Difference(name, "altered", f"its content has the id {decision_id(decision)}"))
    mixture = Mixture.from_weights(decision["mixture"]["weights"])
    if mixture.id != decision["mixture"]["id"]:
        found.append(Difference(name, "altered", f"its weights are mixture {mixture.id}"))
    return found + [Difference(name, "altered", what) for what in altered(workspace, name)]


def _record_differs(record: Record, place: str, decision: Decision, saved: Collection[str]) -> Iterator[Difference]:
    """The record against its own recipe, the chain, the decision and the journal."""
    if Recipe(record.inputs, record.settings).id != record.recipe:
        yield Difference(place, "altered", "inputs or settings of its record are not those of its recipe")
    chain = decision["versions"]
    for upstream, version in record.inputs.items():
        if version not in (chain.get(upstream), chain.get(f"{upstream}@{version}")):
            yield Difference(place, "altered", f"it names {upstream} {version}, which the decision does not")
    named = decision.get("records", {}).get(place)
    if named is not None and named.get("digest") != record.digest:
        yield Difference(place, "altered", "its record is another than the one that the decision is based on")
    if record.digest not in saved:
        yield Difference(place, "altered", "the journal has no line of its record")


def _content_differs(
    workspace: Workspace, record: Record, place: str, link: Link, *, contents: bool
) -> Iterator[Difference]:
    """What files say of themselves, and the sources of documents as they are now."""
    if record.asset == "token_shards":
        folder = shard_folder(workspace.path("shards"), record.key, record.version)
        yield from _shard_differs(folder, place, link, contents=contents)
    elif record.asset == "proxy_checkpoints":
        for name in record.files:
            if name.endswith("proxy.json"):
                yield from _proxy_differs((workspace.home / name).parent, place)
    elif record.asset == "documents" and contents:
        yield from _source_differs(workspace, record, place, link)


def _shard_differs(folder: Path, place: str, link: Link, *, contents: bool) -> Iterator[Difference]:
    try:
        manifest = read_manifest(folder)
    except TokenError as error:
        yield Difference(place, "altered" if Path(error.where).is_file() else "gone", f"{error.where}: {error.problem}")
        return
    if manifest.version != folder.name:
        yield Difference(place, "altered", f"the manifest is of version {manifest.version}")
    for split in manifest.splits.values() if contents else ():
        link.files += split.in_place
        try:
            check_tokens_in_place(folder, manifest.dtype, split)
        except TokenError as error:
            there = Path(error.where).is_file()
            yield Difference(place, "altered" if there else "gone", f"{error.where}: {error.problem}")


def _proxy_differs(folder: Path, place: str) -> Iterator[Difference]:
    """The id of a proxy against its specification; that its files are there is looked at elsewhere."""
    from regmix_pipeline.proxies.spec import COMMAND_CODE, TRAINING_CODE, ProxySpec

    try:
        value = read_json(folder / "proxy.json")
        # Proxies' ids depend on the version of the training code: those of another one cannot be computed again.
        if (
            value["versions"]["code"] in (TRAINING_CODE, COMMAND_CODE)
            and ProxySpec.model_validate(value["spec"]).id != folder.name
        ):
            yield Difference(place, "altered", f"the specification of proxy {folder.name} has another id")
    except OSError:
        return
    except (ValueError, KeyError, TypeError):
        yield Difference(place, "altered", f"the specification of proxy {folder.name} cannot be read")


def _source_differs(workspace: Workspace, record: Record, place: str, link: Link) -> Iterator[Difference]:
    source = workspace.study.sources.get(record.key)
    if source is None:
        yield Difference(place, "changed since", "not a source of the study any more")
        return
    if source[1].corpus is not None:
        from regmix_pipeline.documents.corpora import corpus_path

        if not corpus_path(source[1].corpus, workspace.data).is_file():
            yield Difference(place, "gone", "its corpus was not fetched to this machine")
            return
    try:
        seen = observe(source[1], workspace.base, workspace.data, workspace.say, read_all=True)
    except DocumentError as error:
        yield Difference(place, "gone", f"{error.where}: {error.problem}")
        return
    link.files += len(seen.files)
    if seen.version != record.version:
        yield Difference(place, "changed since", f"its text is of version {seen.version} today, was {record.version}")
