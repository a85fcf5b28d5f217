"""Mixtures that somebody asked for beside the sampled ones: a list that only grows, and says who asked and why.

The stage of adopted mixtures observes the list. Decisions feed back through it: their proposals become mixtures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
from regmix_pipeline.study.phases import phase_parts

CODE_VERSION = "2"
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


def adopted_mixtures(workspace: Workspace) -> list[tuple[Mixture, int | None]]:
    """Distinct adopted mixtures over today's domains, as observed last, in the order of their adoption; each with the
    round that it belongs to, None for those asked for after the last round."""
    known, names, phases = set(workspace.coordinates), workspace.renamed, phase_parts(workspace.study)
    found: dict[str, tuple[Mixture, int | None]] = {}
    settings = workspace.need(NAME).settings
    for parts, number in zip(settings["mixtures"], settings["rounds"], strict=True):
        mixture = Mixture.of(parts).renamed(names)
        if set(mixture.weights) <= known and mixture.has_phases(phases):
            found.setdefault(mixture.id, (mixture, number))
    return list(found.values())


def expected_of_rounds(workspace: Workspace, listed: Collection[str]) -> dict[str, Any]:
    """Round, as text -> what was predicted of the decision before it.

    A round is asked for again where its mixtures went with a domain. So a prediction counts where the list has a
    mixture that was chosen by it, and of several of one round the first, because what comes later tests that too.

    Args:
        workspace: the study on disk.
        listed: ids of the study's mixtures.
    """
    names, found = workspace.renamed, {}
    settings = workspace.need(NAME).settings
    for parts, number, entry in zip(settings["mixtures"], settings["rounds"], settings["entries"], strict=True):
        if number is not None and Mixture.of(parts).renamed(names).id in listed:
            found.setdefault(str(number), settings["expected"][entry])
    return found


def adopted_since_domains_changed(workspace: Workspace) -> int:
    """How many mixtures were asked for after the last round, over the list of domains as it is now."""
    version = workspace.need("domains").version
    return sum(
        len(entry["mixtures"])
        for entry in adopted(workspace)
        if entry["domains"] == version and entry.get("round") is None
    )


def adopt(
    workspace: Workspace,
    mixtures: Sequence[Mixture],
    proposal: str,
    by: str,
    why: str,
    number: int | None = None,
    expected: Mapping[str, Any] | None = None,
) -> None:
    """Ask for proxies of these mixtures; the next run of the mixtures stage takes them in.

    Args:
        workspace: the study on disk.
        mixtures: to train.
        proposal: version of the further mixtures that proposed them.
        by: who asks.
        why: in words.
        number: of the round that they are; None after the last one.
        expected: what was predicted when they were chosen, JSON-able.
    """
    entry = {
        "proposal": proposal,
        "by": by,
        "at": now(),
        "why": why,
        "domains": workspace.need("domains").version,
        "mixtures": [dict(mixture.parts) for mixture in mixtures],
        "round": number,
        "expected": dict(expected or {}),
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
    entries = adopted(workspace)
    listed = [(parts, place) for place, entry in enumerate(entries) for parts in entry["mixtures"]]
    settings = {
        "mixtures": [parts for parts, _ in listed],
        "rounds": [entries[place].get("round") for _, place in listed],
        "entries": [place for _, place in listed],
        "expected": [entry.get("expected", {}) for entry in entries],
    }
    return {UNPARTITIONED: Recipe({}, {**settings, "code": CODE_VERSION})}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    mixtures = recipes[UNPARTITIONED].settings["mixtures"]
    numbers, *rest = (recipes[UNPARTITIONED].settings[name] for name in ("rounds", "entries", "expected"))
    facts = {"mixtures asked for": len(mixtures), "of later rounds": sum(number is not None for number in numbers)}
    yield Output(UNPARTITIONED, fingerprint(NAME, mixtures, numbers, *rest), facts)


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
    description=(
        "Mixtures that were proposed and asked for: the later rounds of the study's own budget, and after them those "
        "that somebody, or the schedule within its budget, asked for."
    ),
)
