"""What went into two decisions and differs: text, tokenizer, domains, limits, targets, settings, code, libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regmix_pipeline.decisions.diff.causes import LIMITING
from regmix_pipeline.decisions.find import Decision, record_behind, record_named
from regmix_pipeline.engine.records import UNPARTITIONED, Record
from regmix_pipeline.engine.workspace import Workspace

SETTINGS = ("mixtures", "proxy_checkpoints", "proxy_losses", "regressor", "optimal_mixture", "further_mixtures")
"""Assets whose settings are compared; of partitioned ones any one key's, as their partitions share them."""
ELSEWHERE = (
    "code",
    "objective",
    "spec",
    "proxies",
    "mixture",
    "earlier runs",
    "adopted",
    "kept",
    "parts",
    "domains",
    "targets",
    "runs",
    "renamed",
)
"""Settings that are shown under another heading, or that only repeat inputs."""
MISSING = "absent"


def changed_inputs(
    workspace: Workspace, before: Decision, after: Decision, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What differs, JSON-able; empty lists and None where nothing does.

    Args:
        workspace: the study on disk.
        before, after: the decisions.
        renamed: name in ``before`` -> name in ``after`` of domains that were renamed.

    Returns:
        domains {came, went, renamed}; text: rows with source, state (changed, new, gone), documents, tokens and
        megabytes, each [before, after]; tokenizer: [before, after] or None; limits, targets, settings, code,
        libraries: rows with what, before, after; versions: asset -> {same, changed, new, gone} counts of all upstream.
    """
    pair, renamed = (before, after), dict(renamed or {})
    names = [[row["domain"] for row in decision["domains"]] for decision in pair]
    names[0] = [renamed.get(name, name) for name in names[0]]
    libraries = [(decision.get("environment") or decision.get("code") or {}).get("libraries", {}) for decision in pair]
    python = [(decision.get("environment") or decision.get("code") or {}).get("python") for decision in pair]
    return {
        "domains": {
            "came": [name for name in names[1] if name not in names[0]],
            "removed": [name for name in names[0] if name not in names[1]],
            "renamed": renamed,
        },
        "text": list(_text(workspace, *pair, renamed)),
        "tokenizer": _tokenizer(workspace, *pair),
        "limits": list(
            differing(
                _limits(workspace, before, set(names[0]) & set(names[1]), renamed),
                _limits(workspace, after, set(names[0]) & set(names[1]), {}),
            )
        ),
        "targets": list(differing(*({"objective asked": d.get("objective_asked", d["objective"])} for d in pair))),
        "settings": list(differing(_settings(workspace, before), _settings(workspace, after))),
        "code": list(differing(_code(workspace, before), _code(workspace, after))),
        "libraries": list(
            differing(*({**each, "python": version} for each, version in zip(libraries, python, strict=True)))
        ),
        "versions": _versions(before, after),
    }


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Leaves of two nested mappings that differ: what (a dotted path), before, after."""
    flat = [dict(_leaves(each)) for each in (before, after)]
    for name in dict.fromkeys([*flat[0], *flat[1]]):
        then, now = (each.get(name, MISSING) for each in flat)
        if then != now:
            yield {"what": name, "before": then, "after": now}


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        place = f"{above}.{name}" if above else str(name)
        if isinstance(each, Mapping) and each:
            yield from _leaves(each, place)
        else:
            yield place, each


def _keys(decision: Decision, asset: str) -> list[str]:
    return [
        place.split("/", 1)[1] for place in decision["versions"] if place.startswith(f"{asset}/") and "@" not in place
    ]


def _text(
    workspace: Workspace, before: Decision, after: Decision, renamed: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Sources whose documents or shards differ."""
    shards = [_shards(workspace, decision) for decision in (before, after)]
    shards[0] = {renamed.get(name, name): record for name, record in shards[0].items()}
    for name in dict.fromkeys([*shards[0], *shards[1]]):
        then, now = (each.get(name) for each in shards)
        if then is not None and now is not None and then.version == now.version:
            continue
        facts = [record.facts if record else {} for record in (then, now)]
        state = "new" if then is None else "gone" if now is None else "changed"
        documents = [record.inputs.get(f"documents/{name}") if record else None for record in (then, now)]
        same_text = state == "changed" and documents[0] == documents[1]
        yield {
            "source": name,
            "state": "same text, other shards" if same_text else state,
            **{what: [each.get(what) for each in facts] for what in ("documents", "tokens", "megabytes")},
        }


def _shards(workspace: Workspace, decision: Decision) -> dict[str, Record]:
    """Source -> its shards as the inventory counted them; old proxies may have older ones in the chain as well."""
    counted = record_named(workspace, decision, "domain_inventory")
    found = {}
    for place, version in (counted.inputs if counted else {}).items():
        asset, name = place.split("/", 1)
        record = record_behind(workspace, decision, asset, name, version) if asset == "token_shards" else None
        if record is not None:
            found[name] = record
    return found


def _tokenizer(workspace: Workspace, before: Decision, after: Decision) -> list[dict[str, Any]] | None:
    versions = [decision["versions"].get("tokenizer/all") for decision in (before, after)]
    if versions[0] == versions[1]:
        return None
    records = [record_named(workspace, decision, "tokenizer") for decision in (before, after)]
    return [
        {"version": version, "vocabulary": record.facts.get("vocabulary") if record else None}
        for version, record in zip(versions, records, strict=True)
    ]


def _limits(workspace: Workspace, decision: Decision, domains: set[str], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Limits as asked, and the caps and floors of ``domains`` that follow from them and the tokens available."""
    counted = record_named(workspace, decision, "domain_inventory")
    asked = counted.settings["domains"] if counted else {}
    searched = record_named(workspace, decision, "optimal_mixture")
    search = searched.settings["search"] if searched else {}
    found: dict[str, Any] = {"limits": decision.get("limits", {})}
    found["search"] = {name: value for name, value in search.items() if name in LIMITING}
    found["phases"] = {row["name"]: row for row in decision.get("phases", [])}
    for row in decision["domains"]:
        name = renamed.get(row["domain"], row["domain"])
        if name not in domains:
            continue
        own = asked.get(row["domain"], [None, None])
        found[name] = {"cap asked": own[0], "floor asked": own[1], "cap": row["cap"], "floor": row["floor"]}
        if epochs := (decision.get("repetition") or {}).get(row["domain"]):
            found[name] |= {"max_epochs": epochs["max_epochs"], "reason of max_epochs": epochs["reason"]}
    return found


def _settings(workspace: Workspace, decision: Decision) -> dict[str, Any]:
    found = {}
    for asset in SETTINGS:
        key = next(iter(_keys(decision, asset)), None)
        record = None if key is None else record_named(workspace, decision, asset, key)
        if record is not None:
            found[asset] = {name: value for name, value in record.settings.items() if name not in ELSEWHERE}
    search = found.get("optimal_mixture", {}).get("search", {})
    if search:
        kept = {name: value for name, value in search.items() if name not in LIMITING}
        found["optimal_mixture"] = found["optimal_mixture"] | {"search": kept}
    return found


def _code(workspace: Workspace, decision: Decision) -> dict[str, Any]:
    """Versions of the package and of each asset's code."""
    found: dict[str, Any] = {"package": decision["code"].get("package")}
    for asset in dict.fromkeys(place.split("/")[0] for place in decision["versions"]):
        record = record_named(workspace, decision, asset, next(iter(_keys(decision, asset)), UNPARTITIONED))
        if record is not None and "code" in record.settings:
            found[asset] = record.settings["code"]
    return found


def _versions(before: Decision, after: Decision) -> dict[str, dict[str, int]]:
    held: list[dict[str, set[str]]] = [{}, {}]
    for each, decision in zip(held, (before, after), strict=True):
        for place, version in decision["versions"].items():
            each.setdefault(place.split("@")[0], set()).add(version)
    found: dict[str, dict[str, int]] = {}
    for place in dict.fromkeys([*held[0], *held[1]]):
        counts = found.setdefault(place.split("/")[0], dict.fromkeys(("same", "changed", "new", "gone"), 0))
        then, now = held[0].get(place), held[1].get(place)
        state = "new" if then is None else "gone" if now is None else "same" if then == now else "changed"
        counts[state] += 1
    return found
