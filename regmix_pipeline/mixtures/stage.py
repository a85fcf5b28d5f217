"""Stage 4, mixtures: which points of the simplex the proxies are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.files import fingerprint
from regmix_pipeline.lab import Lab, Stage
from regmix_pipeline.ledger.recorder import Output
from regmix_pipeline.ledger.records import WHOLE, Recipe
from regmix_pipeline.mixtures.adopted import adopted_mixtures
from regmix_pipeline.mixtures.anchors import anchor_mixtures
from regmix_pipeline.mixtures.before import ListBefore, list_before
from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.sampler import sample, with_new_domain
from regmix_pipeline.proxies.earlier import EarlierRun, comparable, finished_proxies, usable_runs

CODE_VERSION = "2"


def prior_and_limits(lab: Lab) -> tuple[NDArray[np.float64], Limits]:
    """The natural distribution, shape (d,), and the limits over the study's domains, from the inventory."""
    rows = {row["source"]: row for row in lab.json("domain_inventory")["sources"] if row["role"] == "domain"}
    domains = tuple(lab.domains)
    prior = np.array([rows[name]["prior"] for name in domains])
    caps = np.array([rows[name]["cap"] for name in domains])
    floors = np.array([rows[name]["floor"] for name in domains])
    return prior, Limits(domains, caps, floors)


def current_mixtures(lab: Lab) -> dict[str, Mixture]:
    """Id -> mixture, in order: the ones that proxies are trained on now."""
    entries = lab.json("mixtures")["mixtures"]
    return {entry["id"]: Mixture.of(entry["parts"]) for entry in entries}


def sampled_mixtures(lab: Lab) -> list[str]:
    """Ids of the current mixtures that the sampler drew, in order."""
    return [entry["id"] for entry in lab.json("mixtures")["mixtures"] if entry["origin"] == "sampled"]


def anchored_mixtures(lab: Lab) -> set[str]:
    """Ids of the current mixtures that are anchors."""
    drawn = ("sampled", "arrival", "further")
    return {entry["id"] for entry in lab.json("mixtures")["mixtures"] if entry["origin"] not in drawn}


def _wanted(lab: Lab) -> dict[str, Recipe]:
    settings = {
        "mixtures": lab.study.mixtures.model_dump(mode="json"),
        "seed": lab.study.seed,
        "domains": lab.domains,
        "earlier runs": fingerprint(sorted({run.mixture.id for run in _earlier(lab)})),
        "adopted": [mixture.id for mixture in adopted_mixtures(lab)],
        "code": CODE_VERSION,
    }
    if renamed := lab.renamed:
        settings["renamed"] = renamed
    return {WHOLE: Recipe(lab.versions("domain_inventory"), settings)}


def _paid_for(lab: Lab, old: ListBefore, limits: Limits, besides: set[str]) -> list[Mixture]:
    """Mixtures of finished proxies over today's domains that no list holds any more, such as those of a domain that
    went and came back; sorted by id. None when the sampler was changed: then other mixtures are wanted. They stand for
    new draws, so caps hold for them."""
    if old.sampler != _sampler_id(lab):
        return []
    names, under_caps = lab.renamed, lab.study.mixtures.under_caps
    mixtures = (spec.exact_mixture.renamed(names) for spec in finished_proxies(lab).values() if comparable(lab, spec))
    found = {mixture.id: mixture for mixture in mixtures}
    return [
        mixture
        for key, mixture in sorted(found.items())
        if key not in besides and (not under_caps or limits.allow(mixture.vector(lab.domains)))
    ]


def _earlier(lab: Lab) -> list[EarlierRun]:
    """Evidence from earlier days, which stands for as many sampled mixtures."""
    return usable_runs(lab) if lab.study.trains else []


def _arrivals(
    lab: Lab,
    prior: NDArray[np.float64],
    limits: Limits,
    current: list[Mixture],
    kept: list[Mixture],
    arrived: list[str],
) -> list[Mixture]:
    """Mixtures for domains that came after the others were sampled: ``kept`` ones, and what each domain still lacks."""
    settings, found = lab.study.mixtures, list(kept)
    parts = {name for change in lab.study.changes for name in change.into}
    before = [run.mixture for run in _earlier(lab)]
    for domain in arrived:
        # Runs on the whole say nothing of how its parts differ.
        seen = current + found + ([] if domain in parts else before)
        lacking = settings.arrivals - sum(domain in dict(mixture.parts) for mixture in seen)
        if lacking > 0:
            inside = [mixture for mixture in seen + before if set(dict(mixture.parts)) <= set(lab.domains)]
            found += with_new_domain(prior, limits, settings, lab.study.seed, inside, domain, lacking)
    return found


def _sampler_id(lab: Lab) -> str:
    settings = lab.study.mixtures.model_dump(mode="json", exclude={"count", "anchors", "arrivals", "draw"})
    return fingerprint(settings, lab.study.seed, CODE_VERSION)


def _make(lab: Lab, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    prior, limits = prior_and_limits(lab)
    settings = lab.study.mixtures
    kept: list[Mixture] = []
    groups: dict[str, list[Mixture]] = {"sampled": [], "arrival": [], "further": []}
    named: dict[str, Mixture] = {}
    old = list_before(lab)
    came = set(lab.domains) - set(old.domains or lab.domains) | set(old.arrived)
    arrived = [domain for domain in lab.domains if domain in came]
    if lab.study.trains:
        named = old.anchors_kept(lab.domains, settings.draw, anchor_mixtures(prior, limits, settings.anchors))
        redrawn = limits if settings.draw != old.draw and settings.under_caps else None
        same = old.sampler == _sampler_id(lab)
        listed = {
            "arrival": old.kept("arrival", lab.domains, redrawn) if same else [],
            "further": adopted_mixtures(lab),
        }
        kept = old.kept("sampled", lab.domains, redrawn) if same else []
        besides = {mixture.id for group in (*listed.values(), kept, named.values()) for mixture in group}
        kept = [*kept, *_paid_for(lab, old, limits, besides)][: settings.count]
        before = len({run.mixture.id for run in _earlier(lab)})
        wanted = settings.model_copy(update={"count": max(settings.count - before, len(kept))})
        groups["sampled"] = sample(prior, limits, wanted, lab.study.seed, kept)
        groups["further"] = listed["further"]
        measured = groups["sampled"] + groups["further"]
        groups["arrival"] = _arrivals(lab, prior, limits, measured, listed["arrival"], arrived)
    origins: dict[str, str] = {}
    mixtures: dict[str, Mixture] = {}
    for origin, group in groups.items():
        for mixture in group:
            origins.setdefault(mixture.id, origin)
            mixtures.setdefault(mixture.id, mixture)
    for name, mixture in named.items():
        origins.setdefault(mixture.id, name)
        mixtures.setdefault(mixture.id, mixture)
    today = lab.need("domain_inventory").version if settings.under_caps else None
    known: dict[str, str | None] = {mixture.id: None for mixture in kept} | dict(old.drawn_under)
    drawn_under = {key: known.get(key, today) for key in mixtures if origins[key] in ("sampled", "arrival")}
    entries = [
        {"id": key, "origin": origins[key], "parts": dict(mixture.parts), "drawn_under": drawn_under.get(key)}
        for key, mixture in mixtures.items()
    ]
    version = fingerprint("mixtures", entries, arrived, lab.domains)
    content = {
        "sampler": _sampler_id(lab),
        "draw": settings.draw,
        "arrived": arrived,
        "anchors": {name: dict(mixture.parts) for name, mixture in named.items()},
        "mixtures": entries,
    }
    # Other settings may lead to the same list: its version says nothing of them, its file's name has to.
    path = lab.write_json(content, "mixtures", f"{version}-{fingerprint(content)[:8]}.json")
    rows = [
        {
            "mixture": key,
            "position": position,
            "origin": origins[key],
            "domain": domain,
            "weight": float(weight),
            "drawn_under": drawn_under.get(key),
        }
        for position, (key, mixture) in enumerate(mixtures.items())
        for domain, weight in zip(lab.domains, mixture.vector(lab.domains), strict=True)
    ]
    lab.write_rows("mixtures", version, rows)
    facts = {
        "mixtures": len(entries),
        **{origin: sum(found == origin for found in origins.values()) for origin in groups},
        "anchors": sum(found not in groups for found in origins.values()),
        "kept from before": len(kept),
        "beyond today's limits": sum(not limits.allow(mixture.vector(lab.domains)) for mixture in kept),
        "new": len(groups["sampled"]) - len(kept),
    }
    yield Output(WHOLE, version, facts, [path])


MIXTURES = Stage(
    "mixtures",
    ("domain_inventory",),
    None,
    CODE_VERSION,
    _wanted,
    _make,
    kinds=("numpy",),
    group="proxies",
    description="Mixtures drawn by RegMix's sampler under the caps, and named anchors; each becomes a partition.",
)
