"""Whether the chain from a decision to its documents still is what it was: every hash taken again.

Altered means that something on disk says another thing than when the decision was taken. Gone means that it cannot be
looked at any more. That a source of documents holds other text today is neither: the world moves on, and is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regmix_pipeline.decisions.find import Decision, record_behind, record_on_disk
from regmix_pipeline.decisions.record import decision_id, sealed
from regmix_pipeline.decisions.verdicts import altered
from regmix_pipeline.documents.observe import observe
from regmix_pipeline.errors import DocumentError, TokenError
from regmix_pipeline.files import fingerprint, read_json, sha256_of
from regmix_pipeline.lab import Lab
from regmix_pipeline.ledger.build import ledger_is_current, read_ledger
from regmix_pipeline.ledger.records import WHOLE, Recipe, Record
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.tokens.shards import shard_folder, verify_shard

Kind = Literal["altered", "gone", "changed since"]


@dataclass(frozen=True)
class Difference:
    """Something that is not as the decision knew it: its place (``asset/key``), its kind, and what differs."""

    place: str
    kind: Kind
    what: str


@dataclass
class Link:
    """One asset's part in the chain.

    Attributes:
        asset: the asset's name, or "mixture_decision" for the decision itself.
        things: keys and versions that took part.
        files: files whose checksum was taken again.
        unsummed: files of which no checksum was recorded.
        made: earliest and latest time, UTC.
        differences: what is not as it was.
    """

    asset: str
    things: int = 0
    files: int = 0
    unsummed: int = 0
    made: tuple[str, str] = ("", "")
    differences: list[Difference] = field(default_factory=list)


def verified(lab: Lab, decision: Decision, *, contents: bool = True, with_ledger: bool | None = None) -> list[Link]:
    """The chain behind a decision, from the decision back to the documents.

    Args:
        lab: the study on disk.
        decision: its record.
        with_ledger: whether the ledger is compared with the files; default: if it was built from the records as they
            are. Files are the truth: a ledger that is behind says nothing.
        contents: take the checksums of tokens, model weights and source documents too; without, of the rest alone.
    """
    if with_ledger is None:
        with_ledger = ledger_is_current(lab.records, lab.ledger)
    first = (_confirmation_link(lab, decision), _decision_link(lab, decision, with_ledger))
    links = [link for link in first if link is not None]
    by_asset: dict[str, Link] = {}
    known = _in_ledger(lab) if with_ledger else None
    for place, version in decision["versions"].items():
        asset, key = place.split("@")[0].split("/", 1)
        link = by_asset.setdefault(asset, Link(asset))
        link.things += 1
        record = record_behind(lab, decision, asset, key, version)
        if record is None:
            link.differences.append(Difference(place, "gone", f"no record of version {version}"))
            continue
        link.made = (min(filter(None, [link.made[0], record.made_at])), max(link.made[1], record.made_at))
        link.differences += _record_differs(record, place, decision, known)
        link.differences += _files_differ(lab, record, place, link)
        if contents:
            link.differences += _content_differs(lab, record, place, link)
    order = _upstream_order(lab, decision)
    return links + sorted(by_asset.values(), key=lambda link: order.index(link.asset))


def _upstream_order(lab: Lab, decision: Decision) -> list[str]:
    from regmix_pipeline.stages import STAGES

    names = [stage.name for stage in reversed(STAGES)]
    return names + sorted({place.split("/")[0] for place in decision["versions"]} - set(names))


def _confirmation_link(lab: Lab, decision: Decision) -> Link | None:
    """What larger models said of the decision: its table against the checksums on record; None without one."""
    own = [each for each in lab.records.history("confirmation") if decision["decision"] in each.inputs.values()]
    if not own:
        return None
    link = Link("confirmation", len(own), made=(own[0].made_at, own[-1].made_at))
    for record in own:
        link.differences += _files_differ(lab, record, f"confirmation/{record.version}", link)
    return link


def _decision_link(lab: Lab, decision: Decision, with_ledger: bool) -> Link:
    """The record against its own id, seal and checksums, its verdicts, and its row in the ledger."""
    name = decision["decision"]
    link = Link("mixture_decision", 1, made=(decision["decided_at"], decision["decided_at"]))
    link.differences += decision_differences(lab, decision, with_ledger=with_ledger)
    link.unsummed += "seal" not in decision
    for record in lab.records.of_version("mixture_decision", WHOLE, name)[-1:]:
        link.differences += _files_differ(lab, record, name, link)
        if dict(record.inputs) != decision["versions"]:
            link.differences.append(Difference(name, "altered", "its record names other versions than it does"))
    return link


def decision_differences(lab: Lab, decision: Decision, *, with_ledger: bool) -> list[Difference]:
    """What is wrong with a decision's own record, wherever it was found, and with its verdicts; see `verified`."""
    name, found = decision["decision"], []
    path = lab.path("decisions", name, "decision.json")
    if not path.is_file():
        found.append(Difference(name, "gone", "its file; shown as the ledger has it"))
    elif record_on_disk(lab, name) != decision:
        found.append(Difference(name, "altered", "its file holds another text; shown as the ledger has it"))
    if "seal" in decision:
        if sealed(decision)["seal"] != decision["seal"]:
            found.append(Difference(name, "altered", "the record does not match its seal"))
        if decision_id(decision) != name:
            found.append(Difference(name, "altered", f"its content has the id {decision_id(decision)}"))
    mixture = Mixture.from_weights(decision["mixture"]["weights"])
    if mixture.id != decision["mixture"]["id"]:
        found.append(Difference(name, "altered", f"its weights are mixture {mixture.id}"))
    if with_ledger:
        rows = _decision_rows(lab, name)
        if not rows:
            found.append(Difference(name, "gone", "the ledger has no row of it"))
        elif rows[0] != decision:
            found.append(Difference(name, "altered", "the ledger holds another text of it"))
    return found + [Difference(name, "altered", what) for what in altered(lab, name)]


def _decision_rows(lab: Lab, name: str) -> list[Any]:
    with read_ledger(lab.ledger) as connection:
        rows = connection.execute("select record from decisions where decision = ?", [name]).fetchall()
    return [json.loads(text) for (text,) in rows]


def _in_ledger(lab: Lab) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """(asset, key, version, recipe) -> checksums, of every record in the ledger."""
    with read_ledger(lab.ledger) as connection:
        columns = [row[0] for row in connection.execute("describe records").fetchall()]
        sums = "sums" if "sums" in columns else "'{}'"
        rows = connection.execute(f"select asset, key, version, recipe, {sums} from records").fetchall()
    return {(asset, key, version, recipe): json.loads(text) for asset, key, version, recipe, text in rows}


def _record_differs(
    record: Record,
    place: str,
    decision: Decision,
    known: Mapping[tuple[str, str, str, str], Mapping[str, str]] | None,
) -> Iterator[Difference]:
    """The record against its own recipe, the chain and the ledger."""
    if Recipe(record.inputs, record.settings).id != record.recipe:
        yield Difference(place, "altered", "inputs or settings of its record are not those of its recipe")
    chain = decision["versions"]
    for upstream, version in record.inputs.items():
        if version not in (chain.get(upstream), chain.get(f"{upstream}@{version}")):
            yield Difference(place, "altered", f"it names {upstream} {version}, which the decision does not")
    named = decision.get("records", {}).get(place)
    if named is not None and named["sums"] != fingerprint(dict(record.sums)):
        yield Difference(place, "altered", "its record holds other checksums than the decision knew")
    if known is None:
        return
    kept = known.get((record.asset, record.key, record.version, record.recipe))
    if kept is None:
        yield Difference(place, "gone", "the ledger has no row of its record")
    elif kept != dict(record.sums):
        yield Difference(place, "altered", "the ledger holds other checksums than its record")


def _files_differ(lab: Lab, record: Record, place: str, link: Link) -> Iterator[Difference]:
    """Files against the checksums in the record."""
    for name, expected in record.sums.items():
        path = lab.home / name
        link.files += 1
        if not path.is_file():
            yield Difference(place, "gone", name)
        elif sha256_of(path) != expected:
            yield Difference(place, "altered", f"{name} is not what was recorded")
    for name in record.files:
        if name in record.sums or name.endswith((".ds", ".safetensors")):
            continue
        link.unsummed += 1
        if not (lab.home / name).is_file():
            yield Difference(place, "gone", name)


def _content_differs(lab: Lab, record: Record, place: str, link: Link) -> Iterator[Difference]:
    """What is too large for a record's checksums: tokens, model weights, and the sources themselves."""
    if record.asset == "token_shards":
        yield from _shard_differs(shard_folder(lab.path("shards"), record.key, record.version), place, link)
    elif record.asset == "proxy_checkpoints":
        for name in record.files:
            if name.endswith("proxy.json"):
                yield from _proxy_differs((lab.home / name).parent, place, link)
    elif record.asset == "documents":
        yield from _source_differs(lab, record, place, link)


def _shard_differs(folder: Path, place: str, link: Link) -> Iterator[Difference]:
    if not folder.is_dir():
        yield Difference(place, "gone", f"shards/{folder.parent.name}/{folder.name}")
        return
    link.files += 2
    try:
        manifest = verify_shard(folder)
    except TokenError as error:
        yield Difference(place, "altered" if Path(error.where).exists() else "gone", f"{error.where}: {error.problem}")
        return
    if manifest.version != folder.name:
        yield Difference(place, "altered", f"the manifest is of version {manifest.version}")


def _proxy_differs(folder: Path, place: str, link: Link) -> Iterator[Difference]:
    from regmix_pipeline.proxies.spec import TRAINING_CODE, ProxySpec

    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "proxy.json").is_file():
        yield Difference(place, "gone", f"weights of proxy {folder.name}")
        return
    link.files += 1
    try:
        value = read_json(folder / "proxy.json")
        written, code, spec = value["sha256"], value["versions"]["code"], value["spec"]
        # Proxies' ids hang on the version of the training code: those of another one cannot be told again.
        identity = ProxySpec.model_validate(spec).id if code == TRAINING_CODE else folder.name
    except (ValueError, KeyError, TypeError):
        yield Difference(place, "altered", f"the record of proxy {folder.name}")
        return
    if sha256_of(weights) != written:
        yield Difference(place, "altered", f"weights of proxy {folder.name}")
    if identity != folder.name:
        yield Difference(place, "altered", f"the specification of proxy {folder.name} has another id")


def _source_differs(lab: Lab, record: Record, place: str, link: Link) -> Iterator[Difference]:
    source = lab.study.sources.get(record.key)
    if source is None:
        yield Difference(place, "changed since", "no source of the study any more")
        return
    if source[1].corpus is not None:
        from regmix_pipeline.documents.corpora import corpus_path

        if not corpus_path(source[1].corpus, lab.data).is_file():
            yield Difference(place, "gone", "its corpus was not fetched to this machine")
            return
    try:
        seen = observe(source[1], lab.base, lab.data, lab.say, read_all=True)
    except DocumentError as error:
        yield Difference(place, "gone", f"{error.where}: {error.problem}")
        return
    link.files += len(seen.files)
    if seen.version != record.version:
        yield Difference(place, "changed since", f"its text is of version {seen.version} today, was {record.version}")
