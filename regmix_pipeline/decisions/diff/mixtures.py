"""What became of trained mixtures between two decisions: kept, trained again, only measured again, added, removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regmix_pipeline.decisions.find import Decision, record_behind, record_named
from regmix_pipeline.engine.records import Record
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import fingerprint, read_json
from regmix_pipeline.mixtures.mixture import Mixture


@dataclass(frozen=True)
class _Run:
    """A trained mixture as evidence.

    Attributes:
        models: its proxies, or imported runs.
        measured: fingerprint of what they were measured on, and how.
    """

    models: frozenset[str]
    measured: str


def changed_mixtures(
    workspace: Workspace, before: Decision, after: Decision, renamed: Mapping[str, str]
) -> dict[str, int]:
    """How many trained mixtures two decisions share, by what became of them.

    Args:
        workspace: the study on disk.
        before, after: the decisions.
        renamed: name in ``before`` -> name in ``after`` of domains that were renamed.

    Returns:
        kept: same models, same measurements; trained_again: a model that was not there before; only_measured_again:
        the same models on other targets, windows or code; added, removed: in one of the decisions alone.
    """
    old, new = _evidence(workspace, before, renamed), _evidence(workspace, after, {})
    both = old.keys() & new.keys()
    trained = {key for key in both if not new[key].models <= old[key].models}
    measured = {key for key in both - trained if new[key].measured != old[key].measured}
    return {
        "kept": len(both) - len(trained) - len(measured),
        "trained_again": len(trained),
        "only_measured_again": len(measured),
        "added": len(new.keys() - both),
        "removed": len(old.keys() - both),
    }


def _evidence(workspace: Workspace, decision: Decision, names: Mapping[str, str]) -> dict[str, _Run]:
    """Mixture id, in the names given -> its runs; of the current list, of earlier days, and imported."""
    found: dict[str, _Run] = {}
    imported = record_named(workspace, decision, "imported_runs")
    for mixture, models in _listed(workspace, imported, names).items():
        found[mixture] = _Run(frozenset(models), "as imported")
    earlier = record_named(workspace, decision, "earlier_runs")
    for mixture, models in _listed(workspace, earlier, names).items():
        found[mixture] = _Run(frozenset(models), _how(earlier, names))
    listed = record_named(workspace, decision, "mixtures")
    entries = (
        read_json(workspace.home / listed.files[0])["mixtures"]
        if listed and (workspace.home / listed.files[0]).exists()
        else []
    )
    for entry in entries:
        losses = record_named(workspace, decision, "proxy_losses", entry["id"])
        version = (losses.inputs if losses else {}).get(f"proxy_checkpoints/{entry['id']}")
        trained = record_behind(workspace, decision, "proxy_checkpoints", entry["id"], version) if version else None
        if losses is not None and trained is not None:
            key = Mixture.of(entry["parts"]).renamed(names).id
            found[key] = _Run(frozenset(trained.facts["proxies"]), _how(losses, names))
    return found


def _listed(workspace: Workspace, record: Record | None, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Mixture id -> ids of the runs in a record's list."""
    found: dict[str, list[str]] = {}
    path = next((workspace.home / name for name in (record.files if record else ()) if name.endswith(".json")), None)
    for run in read_json(path)["runs"] if path is not None and path.exists() else ():
        found.setdefault(Mixture.of(run["parts"]).renamed(names).id, []).append(run["id"])
    return found


def _how(record: Record | None, names: Mapping[str, str]) -> str:
    """What losses were measured on and how: targets' shards, windows and code."""
    if record is None:
        return ""
    targets: dict[str, Any] = {}
    for place, version in record.inputs.items():
        asset, name = place.split("/", 1)
        if asset == "token_shards":
            targets[names.get(name, name)] = version
    code = str(record.settings.get("code", "")).split("-")[-1]  # of earlier runs: their own, then the evaluation's
    return fingerprint(targets, record.settings.get("windows"), code)
