"""Mixtures that somebody asked for beside the sampled ones: a list that only grows, and says who asked and why.

The stage of adopted mixtures observes the list. Decisions feed back through it: their proposals become mixtures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from filelock import FileLock

from regmix_pipeline.engine.journal import ASKED
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe, now
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import BusyError, LedgerError
from regmix_pipeline.files import fingerprint, read_json, write_json
from regmix_pipeline.mixtures.mixture import Mixture

CODE_VERSION = "1"
FILE = "adopted.json"
NAME = "adopted_mixtures"


def adopted(workspace: Workspace) -> list[dict[str, Any]]:
    """What was adopted so far, oldest first: proposal, by, at, why, domains (version of the list), mixtures (parts).

    Raises:
        LedgerError: the list was edited.
    """
    path = workspace.path(FILE)
    listed = read_json(path, "restore it from a backup") if path.is_file() else []
    noted = [line.says["entry"] for line in workspace.records.journal.lines if line.what == ASKED]
    # A kill may have left an entry noted and not listed: it counts.
    if listed not in (noted, noted[:-1]):
        raise LedgerError(
            "lists other mixtures than were asked for: it was edited",
            where=str(path),
            remedy="restore it from a backup; mixtures are asked for by `regmix refit` or in the Dagster UI",
        )
    return noted


def adopted_mixtures(workspace: Workspace) -> list[Mixture]:
    """Distinct adopted mixtures over today's domains, as observed last, in the order of their adoption."""
    known, names = set(workspace.domains), workspace.renamed
    found = {}
    for parts in workspace.need(NAME).settings["mixtures"]:
        mixture = Mixture.of(parts).renamed(names)
        if set(mixture.weights) <= known:
            found.setdefault(mixture.id, mixture)
    return list(found.values())


def adopted_since_domains_changed(workspace: Workspace) -> int:
    """How many mixtures were asked for over the list of domains as it is now."""
    version = workspace.need("domains").version
    return sum(len(entry["mixtures"]) for entry in adopted(workspace) if entry["domains"] == version)


def adopt(workspace: Workspace, mixtures: Sequence[Mixture], proposal: str, by: str, why: str) -> None:
    """Ask for proxies of these mixtures; the next run of the mixtures stage takes them in."""
    entry = {
        "proposal": proposal,
        "by": by,
        "at": now(),
        "why": why,
        "domains": workspace.need("domains").version,
        "mixtures": [dict(mixture.parts) for mixture in mixtures],
    }
    with FileLock(workspace.path(f".{FILE}.lock")):
        listed = [*adopted(workspace), entry]
        with workspace.records.journal.noted({"what": ASKED, "entry": entry}):
            write_json(workspace.path(FILE), listed)
    with suppress(BusyError):  # the run at work, or the next one, observes it
        list(workspace.materialise(ADOPTED_MIXTURES, wait=False))


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    mixtures = [parts for entry in adopted(workspace) for parts in entry["mixtures"]]
    return {UNPARTITIONED: Recipe({}, {"mixtures": mixtures, "code": CODE_VERSION})}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    mixtures = recipes[UNPARTITIONED].settings["mixtures"]
    yield Output(UNPARTITIONED, fingerprint(NAME, mixtures), {"mixtures asked for": len(mixtures)})


ADOPTED_MIXTURES = Stage(
    NAME,
    (),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    restores=False,
    folders=(FILE,),
    group="proxies",
    description="Mixtures proposed after a decision that somebody, or the schedule within its budget, asked for.",
)
