"""Stage 4, mixtures: which points of the simplex the proxies are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.adopted import adopted_mixtures, expected_of_rounds
from regmix_pipeline.mixtures.anchors import anchor_mixtures
from regmix_pipeline.mixtures.limits import Limits, within_limits
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.previous_list import TAKEN_OVER, lists_before, taken_over
from regmix_pipeline.mixtures.rounds import after, listed_of_rounds, round_sizes
from regmix_pipeline.mixtures.rows import mixture_rows
from regmix_pipeline.mixtures.sampler import sample, strength_factor, with_new_domain
from regmix_pipeline.proxies.earlier import EarlierRun, usable_runs
from regmix_pipeline.study.phases import phase_parts

CODE_VERSION = "4"
DRAWN = ("sampled", "round", "arrival", "further")
"""Origins of mixtures that are not anchors."""


def prior_and_limits(workspace: Workspace) -> tuple[NDArray[np.float64], Limits]:
    """The natural distribution, shape (d,), and the limits over the study's weights, from the inventory.

    Of phases that are chosen at once, each weight's share in the natural distribution is its phase's times its
    domain's, and the inventory's limits on a domain hold for all of them together.
    """
    rows = {row["source"]: row for row in workspace.json("domain_inventory")["sources"] if row["role"] == "domain"}
    domains = tuple(workspace.domains)
    prior = np.array([rows[name]["prior"] for name in domains])
    caps = np.array([rows[name]["cap"] for name in domains])
    floors = np.array([rows[name]["floor"] for name in domains])
    return of_phases(prior, Limits(domains, caps, floors), phase_parts(workspace.study))


def of_phases(
    prior: NDArray[np.float64], limits: Limits, parts: Mapping[str, int]
) -> tuple[NDArray[np.float64], Limits]:
    """A natural distribution (d,) and limits on domains as those of phases that are chosen at once, see
    `Limits.of_phases`; as they are where ``parts`` is empty."""
    if not parts:
        return prior, limits
    return np.concatenate([part / PARTS * prior for part in parts.values()]), limits.of_phases(parts)


def current_mixtures(workspace: Workspace) -> dict[str, Mixture]:
    """Id -> mixture, in order: the ones that proxies are trained on now."""
    entries = workspace.json("mixtures")["mixtures"]
    return {entry["id"]: Mixture.of(entry["parts"]) for entry in entries}


def rounds_of_mixtures(workspace: Workspace) -> dict[str, int]:
    """Id -> round, of the current mixtures that belong to one."""
    entries = workspace.json("mixtures")["mixtures"]
    return {entry["id"]: entry["round"] for entry in entries if entry["round"] is not None}


def sampled_mixtures(workspace: Workspace) -> list[str]:
    """Ids of the current mixtures that the sampler drew, in order."""
    return [entry["id"] for entry in workspace.json("mixtures")["mixtures"] if entry["origin"] == "sampled"]


def anchored_mixtures(workspace: Workspace) -> set[str]:
    """Ids of the current mixtures that are anchors."""
    return {entry["id"] for entry in workspace.json("mixtures")["mixtures"] if entry["origin"] not in DRAWN}


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    asked = adopted_mixtures(workspace) if workspace.study.trains else []
    adopted = [mixture.id for mixture, _ in asked]
    settings = {
        "mixtures": workspace.study.mixtures.model_dump(mode="json"),
        "seed": workspace.study.seed,
        "domains": workspace.coordinates,
        "earlier runs": fingerprint(sorted({run.mixture.id for run in _earlier(workspace)})),
        "adopted": [[mixture.id, number] for mixture, number in asked],
        "code": CODE_VERSION,
    }
    if renamed := workspace.renamed:
        settings["renamed"] = renamed
    if phases := phase_parts(workspace.study):
        settings["phases"] = list(phases.items())
    if parts := _parts(workspace):
        settings["parts"] = sorted(parts)
    inputs = workspace.versions("domain_inventory")
    kept = taken_over(
        workspace, Recipe(inputs, settings), lambda: prior_and_limits(workspace)[1], _sampler_id(workspace), adopted
    )
    return {UNPARTITIONED: Recipe(inputs, settings | {TAKEN_OVER: kept})}


def _parts(workspace: Workspace) -> set[str]:
    """Domains that are parts of a split one."""
    return {name for change in workspace.study.changes for name in change.into}


def _earlier(workspace: Workspace) -> list[EarlierRun]:
    """Evidence from earlier days, which replaces as many sampled mixtures."""
    return usable_runs(workspace) if workspace.study.trains else []


def _arrivals(
    workspace: Workspace,
    prior: NDArray[np.float64],
    limits: Limits,
    current: list[Mixture],
    kept: list[Mixture],
    arrived: list[str],
) -> list[Mixture]:
    """Mixtures for domains that came after the others were sampled: ``kept`` ones, and what each domain still lacks."""
    settings, found = workspace.study.mixtures, list(kept)
    parts = _parts(workspace)
    before = [run.mixture for run in _earlier(workspace)]
    for domain in arrived:
        # Runs on the whole say nothing of how its parts differ.
        seen = current + found + ([] if domain in parts else before)
        lacking = settings.arrivals - sum(domain in dict(mixture.parts) for mixture in seen)
        if lacking > 0:
            inside = [mixture for mixture in seen + before if set(dict(mixture.parts)) <= set(workspace.coordinates)]
            found += with_new_domain(prior, limits, settings, workspace.study.seed, inside, domain, lacking)
    return found


def _sampler_id(workspace: Workspace) -> str:
    settings = workspace.study.mixtures.model_dump(
        mode="json", exclude={"count", "anchors", "arrivals", "draw", "rounds"}
    )
    phases = phase_parts(workspace.study)
    return fingerprint(settings, workspace.study.seed, CODE_VERSION, *([list(phases.items())] if phases else []))


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    prior, limits = prior_and_limits(workspace)
    sizes = round_sizes(workspace.study)
    settings, taken = workspace.study.mixtures, recipes[UNPARTITIONED].settings[TAKEN_OVER]
    kept: list[Mixture] = []
    groups: dict[str, list[Mixture]] = {"sampled": [], "round": [], "arrival": [], "further": []}
    rounds: dict[str, int] = {}
    following = None
    named: dict[str, Mixture] = {}
    if workspace.study.trains:
        known = _known(workspace, taken)
        # Earlier phases may have left next to nothing of large domains: around their prior almost all draws would be
        # above the caps.
        drawn_from = within_limits(prior, limits) if workspace.study.phases and settings.under_caps else prior
        before = {name: known[key] for name, key in taken["anchors"].items()}
        today = anchor_mixtures(prior, limits, settings.anchors)
        named = {name: before.get(name, mixture) for name, mixture in today.items()}
        kept, arrivals = ([known[key] for key, _ in taken[origin]] for origin in ("sampled", "arrival"))
        stand_in = len({run.mixture.id for run in _earlier(workspace)})
        wanted = settings.model_copy(update={"count": max(sizes[0] - stand_in, len(kept))})
        groups["sampled"] = sample(drawn_from, limits, wanted, workspace.study.seed, kept)
        asked, first = adopted_mixtures(workspace), len(groups["sampled"]) + stand_in
        later = listed_of_rounds(settings, first, asked)
        following = after(settings.count, sizes, first, [number for _, number in later])
        groups["round"] = [mixture for mixture, _ in later]
        groups["further"] = [mixture for mixture, number in asked if number is None]
        rounds = {mixture.id: 1 for mixture in groups["sampled"]} | {mixture.id: number for mixture, number in later}
        measured = groups["sampled"] + groups["round"] + groups["further"]
        groups["arrival"] = _arrivals(workspace, drawn_from, limits, measured, arrivals, taken["arrived"])
    origins: dict[str, str] = {}
    mixtures: dict[str, Mixture] = {}
    for origin, group in groups.items():
        for mixture in group:
            origins.setdefault(mixture.id, origin)
            mixtures.setdefault(mixture.id, mixture)
    for name, mixture in named.items():
        origins.setdefault(mixture.id, name)
        mixtures.setdefault(mixture.id, mixture)
    now = workspace.need("domain_inventory").version if settings.under_caps else None
    then = dict(taken["sampled"] + taken["arrival"])
    drawn_under = {key: then.get(key, now) for key in mixtures if origins[key] in ("sampled", "arrival")}
    entries = [
        {
            "id": key,
            "origin": origins[key],
            "round": rounds.get(key),
            "parts": dict(mixture.parts),
            "drawn_under": drawn_under.get(key),
        }
        for key, mixture in mixtures.items()
    ]
    version = fingerprint("mixtures", entries, taken["arrived"], workspace.coordinates)
    content = {
        "sampler": _sampler_id(workspace),
        "draw": settings.draw,
        "arrived": taken["arrived"],
        "anchors": {name: dict(mixture.parts) for name, mixture in named.items()},
        "next_round": following,
        "expected": expected_of_rounds(workspace, rounds) if workspace.study.trains else {},
        "mixtures": entries,
    }
    # Other settings may lead to the same list: its version says nothing of them, its file's name has to.
    path = workspace.write_json(content, "mixtures", f"{version}-{fingerprint(content)[:8]}.json")
    rows = mixture_rows(mixtures, workspace.coordinates, origins, rounds, drawn_under)
    workspace.write_rows("mixtures", version, rows)
    facts = {
        "mixtures": len(entries),
        **{origin: sum(found == origin for found in origins.values()) for origin in groups},
        "anchors": sum(found not in groups for found in origins.values()),
        "kept from before": len(kept),
        "beyond today's limits": sum(not limits.allow(mixture.vector(workspace.coordinates)) for mixture in kept),
        "new": len(groups["sampled"]) - len(kept),
        "next round": "none"
        if following is None
        else "{number} of {of}: {size} of {left} mixtures".format(**following),
    }
    if (
        groups["sampled"]
        and (factor := strength_factor(_of_one_phase(prior, limits), settings, workspace.study.seed)) > 1
    ):
        facts["strengths multiplied by"] = factor
        workspace.say(
            "  of so many domains each has a small prior, and draws at the usual strengths pass max_usage "
            f"({settings.max_usage:g}) x it: strengths are {factor} times as large, and mixtures nearer to the prior"
        )
    yield Output(UNPARTITIONED, version, facts, [path])


def _of_one_phase(prior: NDArray[np.float64], limits: Limits) -> NDArray[np.float64]:
    """The natural distribution over domains, also of phases that are chosen at once."""
    if limits.together is None:
        return prior
    first = limits.together.table(prior)[0]
    return first / first.sum()


def _known(workspace: Workspace, taken: Mapping[str, Any]) -> dict[str, Mixture]:
    """Id -> mixture of all that is taken over, found in the lists before."""
    missing = {*taken["anchors"].values(), *(key for key, _ in taken["sampled"] + taken["arrival"])}
    found: dict[str, Mixture] = {}
    for each in lists_before(workspace) if missing else ():
        found |= {key: mixture for key, mixture in each.mixtures.items() if key in missing}
        if len(found) == len(missing):
            break
    return found


MIXTURES = Stage(
    "mixtures",
    ("domain_inventory", "token_shards", "finished_proxies", "adopted_mixtures"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("mixtures",),
    kinds=("numpy",),
    group="proxies",
    description=(
        "Mixtures drawn by RegMix's sampler under the caps, those of later rounds, and named anchors; each becomes a "
        "partition."
    ),
)
