"""Stage 0, domains: which domains the study has, those of its file and the folders under its watched address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regmix_pipeline.documents.watch import WatchScan, scan
from regmix_pipeline.documents.watched import NAME, names_taken, recorded, with_watched_domains
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.study.study import Domain

CODE_VERSION = "1"


def scan_watched(workspace: Workspace) -> WatchScan:
    """What is under the study's watched address. Looked at once in a workspace's life.

    Raises:
        DocumentError: the address cannot be listed.
    """
    study = workspace.study_in_file
    if study.watch is None:
        return WatchScan()
    watch, settle = study.watch, study.refit.settle_seconds
    return workspace.once(
        "look",
        lambda: scan(
            watch, workspace.base, recorded(workspace.records), names_taken(study), workspace.path("watch.json"), settle
        ),
    )


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    watched = list(scan_watched(workspace).domains)
    study = with_watched_domains(workspace.study_in_file, watched)
    settings: dict[str, Any] = {f"domain {name}": _said(domain) for name, domain in study.domains.items()}
    settings |= {f"target {name}": target.source.label() for name, target in study.targets.items() if target.source}
    return {UNPARTITIONED: Recipe({}, settings | {"watched": watched, "code": CODE_VERSION})}


def _said(domain: Domain) -> dict[str, Any]:
    """What the study says of a domain, with its source in words."""
    source = {"source": domain.source.label()} if domain.source else {}
    return source | domain.model_dump(mode="json", exclude={"source"}, exclude_none=True)


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    settings = recipes[UNPARTITIONED].settings
    before = workspace.records.current(NAME)
    names = {role: _named(settings, role) for role in ("domain", "target")}
    had = {role: _named(before.settings if before else {}, role) for role in names}
    now, then = ({*each["domain"], *each["target"]} for each in (names, had))
    facts = {
        "domains": names["domain"],
        "targets outside the domains": names["target"],
        "arrived": sorted(now - then),
        "removed": sorted(then - now),
        "watched folders": settings["watched"],
    }
    # Where the text comes from is not part of the version: other documents change their own version, not the list.
    limits = {name: {**settings[f"domain {name}"], "source": None} for name in names["domain"]}
    yield Output(UNPARTITIONED, fingerprint(NAME, limits, names["target"]), facts)
    # The record stands now, so the workspace's study is another one from here on.
    workspace.join()


def _named(settings: Mapping[str, Any], role: str) -> list[str]:
    return [key.removeprefix(f"{role} ") for key in settings if key.startswith(f"{role} ")]


DOMAINS = Stage(
    NAME,
    (),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    restores=False,
    folders=("watch.json",),
    group="data",
    description="The study's domains and targets, those of its file and the folders under its watched address.",
)
