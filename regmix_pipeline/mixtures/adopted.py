"""Mixtures that somebody asked for beside the sampled ones: a list that only grows, and says who asked and why.

The stage of adopted mixtures observes the list. Decisions feed back through it: their proposals become mixtures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from filelock import FileLock

from regmix_pipeline.errors import BusyError, LedgerError
from regmix_pipeline.files import fingerprint, read_json, write_json
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.journal import ASKED
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe, now
from regmix_pipeline.mixtures.mixture import Mixture

CODE_VERSION = "1"
FILE = "adopted.json"
NAME = "adopted_mixtures"


def adopted(lab: Lab) -> list[dict[str, Any]]:
    """What was adopted so far, oldest first: proposal, by, at, why, domains (version of the list), mixtures (parts).

    Raises:
        LedgerError: the list was edited.
    """
    path = lab.path(FILE)
    listed = read_json(path, "restore it from a backup") if path.is_file() else []
    noted = [line.says["entry"] for line in lab.records.journal.lines if line.what == ASKED]
    # A kill may have left an entry noted and not listed: it counts.
    if listed not in (noted, noted[:-1]):
        raise LedgerError(
            "lists other mixtures than were asked for: it was edited",
            where=str(path),
            remedy="restore it from a backup; mixtures are asked for by `regmix refit` or in the Dagster UI",
        )
    return noted


def adopted_mixtures(lab: Lab) -> list[Mixture]:
    """Distinct adopted mixtures over today's domains, as observed last, in the order of their adoption."""
    known, names = set(lab.domains), lab.renamed
    found = {}
    for parts in lab.need(NAME).settings["mixtures"]:
        mixture = Mixture.of(parts).renamed(names)
        if set(mixture.weights) <= known:
            found.setdefault(mixture.id, mixture)
    return list(found.values())


def adopted_since_domains_changed(lab: Lab) -> int:
    """How many mixtures were asked for over the list of domains as it is now."""
    version = lab.need("domains").version
    return sum(len(entry["mixtures"]) for entry in adopted(lab) if entry["domains"] == version)


def adopt(lab: Lab, mixtures: Sequence[Mixture], proposal: str, by: str, why: str) -> None:
    """Ask for proxies of these mixtures; the next run of the mixtures stage takes them in."""
    entry = {
        "proposal": proposal,
        "by": by,
        "at": now(),
        "why": why,
        "domains": lab.need("domains").version,
        "mixtures": [dict(mixture.parts) for mixture in mixtures],
    }
    with FileLock(lab.path(f".{FILE}.lock")):
        listed = [*adopted(lab), entry]
        with lab.records.journal.noted({"what": ASKED, "entry": entry}):
            write_json(lab.path(FILE), listed)
    with suppress(BusyError):  # the run at work, or the next one, observes it
        list(lab.materialise(ADOPTED_MIXTURES, wait=False))


def _wanted(lab: Lab) -> dict[str, Recipe]:
    if not lab.study.trains:
        return {}
    mixtures = [parts for entry in adopted(lab) for parts in entry["mixtures"]]
    return {WHOLE: Recipe({}, {"mixtures": mixtures, "code": CODE_VERSION})}


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    mixtures = recipes[WHOLE].settings["mixtures"]
    yield Output(WHOLE, fingerprint(NAME, mixtures), {"mixtures asked for": len(mixtures)})


ADOPTED_MIXTURES = Stage(
    NAME,
    (),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    restores=False,
    folders=(FILE,),
    group="proxies",
    description="Mixtures proposed after a decision that somebody, or the schedule within its budget, asked for.",
)
